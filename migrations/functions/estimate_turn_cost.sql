-- version 1
-- The amount to reserve for a turn, in USD: the cost of the prompt and of an answer of p90_answer_tokens, but
-- at most p_max_tokens. The sum is multiplied by 1.5, because the token counts are estimates.
create or replace function $functions.estimate_turn_cost(
    p_prompt_tokens integer, p_max_tokens integer, p_usd_per_input numeric, p_usd_per_output numeric
) returns numeric
language plpgsql stable
set search_path = ''
as $$
begin
    return 1.5 * (
        p_prompt_tokens * p_usd_per_input
        + least(p_max_tokens, $functions.p90_answer_tokens()) * p_usd_per_output
    );
end
$$;
