-- Weekly partitions on UUIDv7: the first 48 bits are milliseconds since 1970 (RFC 9562, 5.7).

CREATE FUNCTION uuid_from_time(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || '00000000000000000000')::uuid
$$;

-- Makes the partitions of this week and of the weeks ahead; returns how many were new.
-- One caller at a time: the advisory lock makes the others wait, then find nothing to do.
CREATE FUNCTION create_partitions(weeks_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    parent text;
    week timestamptz;
    partition_name text;
    created integer := 0;
BEGIN
    IF weeks_ahead NOT BETWEEN 0 AND 52 THEN
        RAISE EXCEPTION 'weeks_ahead must be 0 to 52, not %', weeks_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tallypost.create_partitions'));
    FOR n IN -1..weeks_ahead LOOP
        week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
            + make_interval(days => 7 * n);
        FOREACH parent IN ARRAY ARRAY[
            'emails', 'recipients', 'email_contents', 'attempts', 'events'
        ] LOOP
            partition_name := parent || '_w' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass('public.' || partition_name) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                    partition_name, parent, uuid_from_time(week),
                    uuid_from_time(week + interval '7 days')
                );
                created := created + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN created;
END
$$;

SELECT create_partitions(4);
