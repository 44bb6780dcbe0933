-- version 1
-- Reserves the largest cost that a turn can have, in all budgets that are set. The prompt counts with its
-- bytes, because a token has at least one byte. The answer counts with its largest number of tokens.
--
-- If the whole prompt and a short answer (256 tokens, or p_request.max_tokens if that is less) do not fit, the
-- caller must shorten the history. If the whole answer does not fit, the caller must shorten the answer.
--
-- p_fixed_bytes: the part of the prompt that cannot be shortened: system prompt and question. p_prompt_bytes:
-- the whole prompt.
-- p_request:
--   max_tokens
--   budget, budget_anonymous, budget_total: USD a day; 0 or missing: none
--   prices: USD for a byte of the prompt (prompt) and a token of the answer (answer), and if the prompt has
--     more than long_from bytes: long_prompt and long_answer. Missing: usd_per_input and usd_per_output.
--
-- Returns {"reserved_usd", "reserved_for", "prompt_bytes", "max_tokens"}: the reservation, and the largest
-- prompt and answer that it pays. All are null without a budget. Returns NULL if the turn does not fit.
create or replace function $functions.reserve_turn(
    p_request jsonb, p_fixed_bytes integer, p_prompt_bytes integer
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    short_answer constant integer := 256;
    request      record;
    price        record;
    subjects     text[];
    left_usd     numeric;
    answer_usd   numeric;   -- of a token
    prompt_usd   numeric;   -- of a byte
    least_tokens integer;
    prompt_bytes numeric;
    max_tokens   numeric;
    reserved_usd numeric;
    subject      text;
begin
    select * into request from jsonb_to_record(p_request) as r (
        max_tokens integer, budget numeric, budget_anonymous numeric, budget_total numeric,
        usd_per_input numeric, usd_per_output numeric, prices jsonb
    );
    select * into price from jsonb_to_record(
        coalesce(
            request.prices,
            jsonb_build_object('prompt', request.usd_per_input, 'answer', request.usd_per_output)
        )
    ) as r (
        prompt numeric, answer numeric, long_from integer, long_prompt numeric, long_answer numeric
    );

    -- 1. What is left? least() ignores NULL.
    if request.budget > 0 then
        subjects := array['user'];
        left_usd := $functions.lock_budget('user', $functions.today(), request.budget);
    end if;
    if request.budget_anonymous > 0 then
        subjects := subjects || 'anonymous'::text;
        left_usd := least(
            left_usd, $functions.lock_budget('anonymous', $functions.today(), request.budget_anonymous)
        );
    end if;
    if request.budget_total > 0 then
        subjects := subjects || 'total'::text;
        left_usd := least(
            left_usd, $functions.lock_budget('total', $functions.today(), request.budget_total)
        );
    end if;
    if subjects is null then
        return '{}';
    end if;

    -- 2. How long can the prompt be, with a short answer? A price of 0 sets no limit.
    least_tokens := least(short_answer, request.max_tokens);
    if p_prompt_bytes > price.long_from then
        prompt_bytes := least(
            p_prompt_bytes,
            floor((left_usd - least_tokens * price.long_answer) / nullif(price.long_prompt, 0))
        );
    end if;
    prompt_usd := price.long_prompt;
    answer_usd := price.long_answer;
    if prompt_bytes is null or prompt_bytes <= price.long_from then
        prompt_bytes := least(
            p_prompt_bytes, price.long_from,
            floor((left_usd - least_tokens * price.answer) / nullif(price.prompt, 0))
        );
        prompt_usd := price.prompt;
        answer_usd := price.answer;
    end if;
    if prompt_bytes < p_fixed_bytes or left_usd < prompt_bytes * prompt_usd + least_tokens * answer_usd then
        return null;
    end if;

    -- 3. How long can the answer be?
    max_tokens := least(
        request.max_tokens, floor((left_usd - prompt_bytes * prompt_usd) / nullif(answer_usd, 0))
    );
    reserved_usd := prompt_bytes * prompt_usd + max_tokens * answer_usd;
    foreach subject in array subjects loop
        perform $functions.change_budget(
            subject, $functions.user_id(), $functions.today(), reserved_usd, 0
        );
    end loop;
    return jsonb_build_object(
        'reserved_usd', reserved_usd, 'reserved_for', subjects,
        'prompt_bytes', prompt_bytes::integer, 'max_tokens', max_tokens::integer
    );
end
$$;
