-- version 1
-- Counts a request (a hit) if the rate limit allows it.
--
-- Request: scope, limit, window (seconds), and address (a hash) for a client without a user. Without an
-- address the hit counts for app.user_id.
-- Returns {"allowed", "limit", "remaining", "reset", "window"}: reset is the number of seconds until the
-- oldest hit no longer counts.
create or replace function $functions.consume_rate_limit(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request       record;
    rate_window   interval;
    hit_subject   text;
    recent_hits   timestamptz[];
    hit_at        timestamptz;
    is_allowed    boolean;
begin
    perform $functions.require_fields(p_request, 'scope', 'limit', 'window');
    select * into request from jsonb_to_record(p_request) as r (
        scope text, "limit" integer, "window" integer, address text
    );
    if request.address is not null then
        perform set_config('app.user_id', '', true);
        perform set_config('app.address', request.address, true);
    end if;
    hit_subject := $functions.rate_limit_subject();
    rate_window := make_interval(secs => request."window");

    insert into $tables.rate_limits (subject, scope, expires_at)
    values (hit_subject, request.scope, now() + rate_window)
    on conflict (subject, scope) do nothing;

    select hits into recent_hits
    from $tables.rate_limits
    where subject = hit_subject and scope = request.scope
    for update;

    -- Read after the lock, so that later hits have later times.
    hit_at := clock_timestamp();
    recent_hits := array(
        select hit from unnest(recent_hits) as hit where hit > hit_at - rate_window order by hit
    );
    is_allowed := coalesce(cardinality(recent_hits) < request."limit", false);
    if is_allowed then
        recent_hits := recent_hits || hit_at;
        update $tables.rate_limits
        set hits = recent_hits, expires_at = hit_at + rate_window
        where subject = hit_subject and scope = request.scope;
    end if;

    -- One call in a hundred deletes expired rows.
    if random() < 0.01 then
        perform $functions.sweep_rate_limits();
    end if;

    return jsonb_build_object(
        'allowed', is_allowed,
        'limit', request."limit",
        'remaining', greatest(0, request."limit" - cardinality(recent_hits)),
        'reset', greatest(1, ceil(extract(epoch from recent_hits[1] + rate_window - hit_at))),
        'window', request."window"
    );
end
$$;
