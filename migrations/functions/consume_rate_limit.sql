-- version 1
-- Counts a hit if the limit has room for it.
--
-- Request: scope, limit, window (seconds), and address (a hash) for a client without a user. Without an
-- address the hit counts for app.user_id.
-- Returns {"allowed", "limit", "remaining", "reset", "window"}: reset is the number of seconds until the
-- limit has more room.
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

    -- Read after the lock: of the transactions that waited for it, the last one has the latest time.
    hit_at := clock_timestamp();
    recent_hits := array(
        select hit from unnest(recent_hits) as hit where hit > hit_at - rate_window order by hit
    );
    is_allowed := cardinality(recent_hits) < request."limit";
    if is_allowed then
        recent_hits := recent_hits || hit_at;
        update $tables.rate_limits
        set hits = recent_hits, expires_at = hit_at + rate_window
        where subject = hit_subject and scope = request.scope;
    end if;

    -- One call of a hundred sweeps, so that expired rows do not accumulate.
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
