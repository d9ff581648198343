-- A column that is the same in all rows of a call is sent once: for each value that it is sent, the
-- driver takes longer than for the value itself.
CREATE FUNCTION spread(shared anyarray, row_count integer) RETURNS anyarray
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN cardinality(shared) = 1
                THEN array_fill(shared[1], ARRAY[row_count]) ELSE shared END
$$;

REVOKE ALL ON FUNCTION spread FROM PUBLIC;
GRANT EXECUTE ON FUNCTION spread TO tp_accept, tp_deliver;
