-- version 3
-- The history for the model: the newest messages with text before p_before, oldest first, and the question at
-- the end. Messages that a content filter refused (metadata "refused") are left out, except the question that
-- is asked now.
--
-- p_question: the question if it is not stored yet, else NULL.
-- p_request:
--   history_limit       number of messages
--   history_step        the start of the history moves by this number of messages, so that it is the same in
--                       several turns and the provider can cache it: up to history_limit + history_step - 1
--                       messages are returned. Missing: 1.
--   history_bytes       messages are returned until they have at least this size. Missing: no limit.
--   history_characters  longer messages are cut, except answers of this service: an import may have messages
--                       of a million characters. Missing: no limit.
--
-- Returns {"messages": [{"role", "content"}], "message_count"}: message_count is the number of messages in the
-- conversation up to the question.
create or replace function $functions.read_history(
    p_request jsonb, p_conversation_id uuid, p_before timestamptz, p_question text
) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
    request       record;
    new_questions integer := case when p_question is null then 0 else 1 end;
    message_count integer;
    row_limit     integer;
    messages      jsonb;
    question_id   uuid;
begin
    select * into request from jsonb_to_record(p_request) as r (
        history_limit integer, history_step integer, history_bytes bigint, history_characters integer
    );
    select new_questions + coalesce(max(c.message_count), 0) into message_count
    from $tables.conversations as c where c.id = p_conversation_id;
    if p_before is not null then
        message_count := message_count - (
            select count(*) from $tables.messages as m
            where m.conversation_id = p_conversation_id and m.created_at >= p_before
        );
    end if;
    if p_question is null then
        select m.id into question_id
        from $tables.messages as m
        where m.conversation_id = p_conversation_id and m.role = 'user'
            and m.created_at < coalesce(p_before, 'infinity')
        order by m.created_at desc, m.id desc
        limit 1;
    end if;
    row_limit := request.history_limit - new_questions
        + mod(greatest(0, message_count - request.history_limit), coalesce(request.history_step, 1));

    select coalesce(
        jsonb_agg(
            jsonb_build_object('role', sized.role, 'content', sized.content)
            order by sized.created_at, sized.id
        ),
        '[]'
    )
    into messages
    from (
        select cut.*,
            -- The size of all newer messages.
            sum(octet_length(cut.content)) over (order by cut.created_at desc, cut.id desc)
                - octet_length(cut.content) + coalesce(octet_length(p_question), 0) as newer_bytes
        from (
            select newest.id, newest.role, newest.created_at,
                case
                    -- octet_length reads the size of a large text and not the text.
                    when octet_length(newest.content) <= coalesce(request.history_characters, 2147483647)
                        or exists (select from $tables.turns as turn where turn.id = newest.id)
                    then newest.content
                    else left(newest.content, request.history_characters)
                end as content
            from (
                select m.id, m.role, m.content, m.created_at
                from $tables.messages as m
                where m.conversation_id = p_conversation_id and m.content <> '' and m.role <> 'system'
                    and m.created_at < coalesce(p_before, 'infinity')
                    and (not m.metadata ? 'refused' or m.id = question_id)
                order by m.created_at desc, m.id desc
                limit greatest(0, row_limit)
            ) as newest
        ) as cut
    ) as sized
    where sized.newer_bytes <= coalesce(request.history_bytes, 9223372036854775807);

    if p_question is not null then
        messages := messages || jsonb_build_object('role', 'user', 'content', p_question);
    end if;
    return jsonb_build_object('messages', messages, 'message_count', message_count);
end
$$;
