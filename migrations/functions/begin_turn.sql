-- version 2
-- Starts a turn: stores the question and an empty answer, and reads the history for the model.
--
-- Checks first, in this order: whether the call is a repeat, the rate limit, whether the user has the
-- conversation and no answer is being written in it, and the budget. A refused call stores nothing except the
-- count of the rate limit. All ids come from the caller, so that a call that is repeated after its reply was
-- lost finds its own turn.
--
-- Request:
--   user_id, answer_id, question_id, question
--   conversation_id      missing: create a conversation
--   new_conversation_id  the id for a created conversation
--   create_missing       true: if there is no conversation_id, use or create new_conversation_id
--   replaces             the answer to regenerate: its id, or '' for the last answer
--   idempotency_key, request_hash (hex)
--   resumes              true: continue the answer of an earlier call; never start a turn
--   waits_for_stop       true: the caller knows the outcome `stopping`
--   model, system_tokens, max_tokens, usd_per_input, usd_per_output (for one token), priced
--   system_bytes         the largest number of tokens of the system prompt: see prompt_size
--   history_limit, history_step, history_bytes, history_characters: see read_history
--   lease                interval
--   rate_limit, rate_window (seconds)
--   budget, budget_anonymous, budget_total, prices: see reserve_turn
--
-- Returns {"outcome", ...}:
--   started          conversation_id, answer_id, history (the question is last), message_count, rate: ask the
--                    model. max_tokens, prompt_bytes: the limits of a turn with a budget, else null
--   repeated         conversation_id, answer_id: the key was used before; replay that answer
--   mismatch         the key was used for another request
--   not_resumable    there is no answer to continue
--   stopping         the user has stopped the running answer of the conversation: call again soon
--   rate_limited     rate: see consume_rate_limit
--   not_found        this user has no such conversation, or no such answer to regenerate
--   conflict         another answer of the conversation is being written
--   budget_exceeded  renews_in: seconds
create or replace function $functions.begin_turn(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request              record;
    previous_turn        $tables.turns;
    is_restart           boolean;
    rate                 jsonb;
    requested_id         uuid;
    conversation_id      uuid;
    creates_conversation boolean;
    replaced_answer      text;
    replaces_from        timestamptz;
    question             text;         -- NULL: the question is stored already
    turn_id              uuid;
    history              jsonb;
    system_bytes         integer;
    prompt_bytes         integer;
    reservation          jsonb;
begin
    perform $functions.require_fields(
        p_request, 'question', 'max_tokens', 'history_limit', 'rate_limit', 'rate_window', 'budget'
    );
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, question_id uuid, question text, conversation_id uuid,
        new_conversation_id uuid, create_missing boolean, replaces text, idempotency_key text,
        request_hash text, model text, system_tokens integer, max_tokens integer, usd_per_input numeric,
        usd_per_output numeric, system_bytes integer, rate_limit integer, rate_window integer
    );
    perform set_config('app.user_id', request.user_id::text, true);

    -- 1. Is the call a repeat?
    previous_turn := $functions.previous_turn(p_request);
    is_restart := previous_turn.id is not null;
    if previous_turn.attempt_id = request.answer_id then
        -- The history ends before the answer, or before the messages that the answer replaces.
        history := $functions.read_history(
            p_request, previous_turn.conversation_id,
            coalesce(
                previous_turn.replaces_from,
                (select created_at from $tables.messages where id = previous_turn.id)
            ),
            null
        );
        return $functions.started_turn(
            previous_turn.conversation_id, previous_turn.id, history, to_jsonb(previous_turn), null
        );
    elsif previous_turn.request_hash <> decode(request.request_hash, 'hex') then
        return jsonb_build_object('outcome', 'mismatch');
    elsif is_restart
        and (p_request -> 'resumes' = 'true' or not $functions.can_restart_turn(previous_turn))
    then
        return jsonb_build_object(
            'outcome', 'repeated',
            'conversation_id', previous_turn.conversation_id, 'answer_id', previous_turn.id
        );
    elsif p_request -> 'resumes' = 'true' then
        return jsonb_build_object('outcome', 'not_resumable');
    elsif p_request -> 'waits_for_stop' = 'true' and $functions.has_stopping_turn(
        array[previous_turn.conversation_id, request.conversation_id, request.new_conversation_id]
    ) then
        return jsonb_build_object('outcome', 'stopping');
    end if;

    -- 2. Does the rate limit allow the turn?
    rate := $functions.consume_rate_limit(jsonb_build_object(
        'scope', 'chat', 'limit', request.rate_limit, 'window', request.rate_window
    ));
    if (rate -> 'allowed')::boolean is not true then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    -- 3. Does the user have the conversation, and is no answer being written in it? The conversation is
    -- locked before interrupt_expired_turns locks the budget, because settling a turn locks in this order
    -- too.
    requested_id := coalesce(previous_turn.conversation_id, request.conversation_id);
    if requested_id is not null then
        conversation_id := $functions.lock_conversation(
            requested_id,
            case when request.create_missing and not is_restart then request.new_conversation_id end
        );
    end if;
    perform $functions.interrupt_expired_turns();
    creates_conversation := conversation_id is null;
    if creates_conversation and requested_id is not null
        and (is_restart or request.create_missing is not true)
    then
        return jsonb_build_object('outcome', 'not_found', 'rate', rate);
    elsif creates_conversation then
        conversation_id := request.new_conversation_id;
    end if;
    -- A conversation that was deleted and created again with the same id may still have a running turn.
    if $functions.has_running_turn(conversation_id) then
        return jsonb_build_object('outcome', 'conflict', 'rate', rate);
    end if;

    -- 4. Which messages does the answer replace?
    replaces_from := previous_turn.replaces_from;
    if not is_restart then
        replaced_answer := request.replaces;
        if replaced_answer = '' and not $functions.is_newest_question(conversation_id, request.question) then
            -- The question is not stored, because its first request was refused. It becomes a new question.
            replaced_answer := null;
        end if;
        replaces_from := $functions.answer_position(conversation_id, replaced_answer);
        if replaced_answer is null then
            question := request.question;
        elsif not $functions.has_question_before(conversation_id, replaces_from) then
            return jsonb_build_object('outcome', 'not_found', 'rate', rate);
        end if;
    end if;

    -- 5. Do the budgets allow the turn?
    history := $functions.read_history(p_request, conversation_id, replaces_from, question);
    -- Four bytes are estimated as one token.
    system_bytes := coalesce(request.system_bytes, 4 * request.system_tokens);
    prompt_bytes := system_bytes + $functions.prompt_size(history -> 'messages');
    reservation := $functions.reserve_turn(
        p_request,
        system_bytes + $functions.prompt_size(jsonb_build_array(history -> 'messages' -> -1)),
        prompt_bytes
    );
    if reservation is null then
        return jsonb_build_object(
            'outcome', 'budget_exceeded', 'rate', rate,
            'renews_in', $functions.seconds_until_utc_midnight()
        );
    end if;

    -- 6. Store the turn.
    turn_id := coalesce(previous_turn.id, request.answer_id);
    if is_restart then
        update $tables.messages set status = 'streaming', metadata = '{}' where id = turn_id;
    else
        if creates_conversation then
            insert into $tables.conversations (id, user_id, model)
            values (conversation_id, request.user_id, request.model)
            on conflict (id) do nothing;
            if not found then
                -- Another call created the conversation meanwhile. The caller tries again and finds it.
                raise sqlstate '40001';
            end if;
        end if;
        perform $functions.insert_messages(
            request.user_id, conversation_id, request.question_id, question, turn_id
        );
    end if;
    perform $functions.start_turn(
        p_request, turn_id, conversation_id,
        least(
            request.system_tokens + $functions.estimate_history_tokens(history -> 'messages'),
            (reservation ->> 'prompt_bytes')::integer
        ),
        replaces_from, reservation
    );
    return $functions.started_turn(conversation_id, turn_id, history, reservation, rate);
end
$$;
