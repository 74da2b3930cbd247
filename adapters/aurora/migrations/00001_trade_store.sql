-- +goose Up

-- How far each instrument is recorded. A Record moves the cursor in the same
-- transaction as everything else it writes.
CREATE TABLE cursors (
    instrument bigint PRIMARY KEY,
    position   bigint NOT NULL,
    last_trade bigint NOT NULL -- the highest trade id so far
);

-- Times are Unix nanoseconds. Unsigned numbers of 64 bits (account, order_id,
-- seq) are kept as the bigint of the same bits: those above 2^63-1 show as
-- negative, and nothing compares them but for equality.
CREATE TABLE orders (
    command_id    uuid NOT NULL,
    client_id     text COLLATE "C" NOT NULL,
    instrument    bigint NOT NULL,
    order_id      bigint NOT NULL, -- 0: refused
    account       bigint NOT NULL,
    side          smallint NOT NULL,
    type          smallint NOT NULL,
    time_in_force smallint NOT NULL,
    self_trade    smallint NOT NULL,
    post_only     smallint NOT NULL,
    hidden        boolean NOT NULL,
    status        smallint NOT NULL, -- 1 and 2 are live
    reason        integer NOT NULL,
    price         bigint NOT NULL,
    stop_price    bigint NOT NULL,
    order_qty     bigint NOT NULL,
    cum_qty       bigint NOT NULL,
    leaves_qty    bigint NOT NULL,
    display_qty   bigint NOT NULL,
    funds         bigint NOT NULL,
    notional      bigint NOT NULL,
    fee           bigint NOT NULL,
    expire        bigint NOT NULL,
    created       bigint NOT NULL,
    updated       bigint NOT NULL,
    seq           bigint NOT NULL,
    PRIMARY KEY (command_id, created)
) PARTITION BY RANGE (created);

-- created ends the keys so that a search begins in the newest partition and
-- ends where it has found enough.
CREATE INDEX orders_by_id ON orders (instrument, order_id, created) WHERE order_id <> 0;
CREATE INDEX orders_by_client ON orders (account, client_id, created, command_id) WHERE client_id <> '';
CREATE INDEX orders_by_account ON orders (account, created, command_id);
CREATE INDEX orders_by_account_instrument ON orders (account, instrument, created, command_id);
CREATE INDEX orders_live ON orders (account, created, command_id) WHERE status IN (1, 2);

CREATE TABLE trades (
    instrument       bigint NOT NULL,
    id               bigint NOT NULL, -- 1 to 2^63-1
    seq              bigint NOT NULL,
    time             bigint NOT NULL,
    price            bigint NOT NULL,
    qty              bigint NOT NULL,
    amount           bigint NOT NULL,
    side             smallint NOT NULL, -- the taker's
    taker_command_id uuid NOT NULL,
    taker_order_id   bigint NOT NULL,
    taker_account    bigint NOT NULL,
    taker_fee        bigint NOT NULL,
    maker_command_id uuid NOT NULL,
    maker_order_id   bigint NOT NULL,
    maker_account    bigint NOT NULL,
    maker_fee        bigint NOT NULL,
    PRIMARY KEY (instrument, id, time)
) PARTITION BY RANGE (time);

CREATE INDEX trades_by_taker ON trades (taker_account, time, instrument, id);
CREATE INDEX trades_by_taker_instrument ON trades (taker_account, instrument, time, id);
CREATE INDEX trades_by_maker ON trades (maker_account, time, instrument, id);
CREATE INDEX trades_by_maker_instrument ON trades (maker_account, instrument, time, id);

-- Candles of a minute, an hour and a day; others are sums of these.
CREATE TABLE candles (
    instrument bigint NOT NULL,
    width      bigint NOT NULL, -- of the interval, ns
    start      bigint NOT NULL,
    open       bigint NOT NULL,
    high       bigint NOT NULL,
    low        bigint NOT NULL,
    close      bigint NOT NULL,
    volume     bigint NOT NULL,
    trades     bigint NOT NULL,
    PRIMARY KEY (instrument, width, start)
);

-- add_partitions makes the partitions of orders and trades for some calendar
-- months (UTC) from the one of a day on, those that are missing. Queries and
-- writes go on meanwhile: attaching a table locks out no more than another
-- change of the schema. It runs with the rights of its owner, so that who
-- records needs none to create tables.
-- +goose StatementBegin
CREATE FUNCTION add_partitions(first date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    highest CONSTANT numeric := 9223372036854775807;
    lowest CONSTANT numeric := -9223372036854775808;
    home   CONSTANT text := current_schema();
    month  timestamp;
    low    numeric;
    high   numeric;
    parent text;
    part   text;
    made   integer := 0;
BEGIN
    IF months NOT BETWEEN 1 AND 120 THEN
        RAISE EXCEPTION 'months is %, expected 1 to 120', months USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(home || '.add_partitions', 0));
    FOR n IN 0 .. months - 1 LOOP
        month := date_trunc('month', first::timestamp) + make_interval(months => n);
        low := trunc(extract(epoch FROM month) * 1000000000);
        high := trunc(extract(epoch FROM month + interval '1 month') * 1000000000);
        CONTINUE WHEN low > highest OR high <= lowest; -- no time lies there
        FOREACH parent IN ARRAY ARRAY['orders', 'trades'] LOOP
            part := parent || to_char(month, '_YYYY_MM');
            CONTINUE WHEN EXISTS (SELECT FROM pg_inherits
                WHERE inhparent = format('%I.%I', home, parent)::regclass AND inhrelid = to_regclass(format('%I.%I', home, part)));
            -- Room in each page lets an order change where it lies.
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL) WITH (fillfactor = 80)', home, part, home, parent);
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)', home, parent, home, part,
                CASE WHEN low < lowest THEN 'MINVALUE' ELSE low::bigint::text END,
                CASE WHEN high > highest THEN 'MAXVALUE' ELSE high::bigint::text END);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION add_partitions(date, integer) FROM PUBLIC;

-- advance moves an instrument's cursor to the next position and keeps it locked
-- until the transaction ends, so that of several writers one goes on and the
-- others find, after it, what is left to do. Its errors are part of the
-- protocol: EX001 recorded before, EX002 a gap, EX003 a trade id that is not
-- new; their detail is the cursor's position or its last trade.
-- +goose StatementBegin
CREATE FUNCTION advance(inst bigint, pos bigint, first_id bigint, last_id bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at cursors%ROWTYPE;
BEGIN
    SELECT * INTO at FROM cursors WHERE instrument = inst FOR UPDATE;
    IF NOT FOUND THEN
        IF pos > 1 THEN
            RAISE EXCEPTION 'a gap' USING ERRCODE = 'EX002', DETAIL = 0;
        END IF;
        INSERT INTO cursors VALUES (inst, 0, 0) ON CONFLICT DO NOTHING;
        SELECT * INTO at FROM cursors WHERE instrument = inst FOR UPDATE;
    END IF;
    IF at.position >= pos THEN
        RAISE EXCEPTION 'recorded before' USING ERRCODE = 'EX001', DETAIL = at.position;
    ELSIF at.position < pos - 1 THEN
        RAISE EXCEPTION 'a gap' USING ERRCODE = 'EX002', DETAIL = at.position;
    ELSIF first_id <= at.last_trade THEN
        RAISE EXCEPTION 'not a new trade' USING ERRCODE = 'EX003', DETAIL = at.last_trade;
    END IF;
    UPDATE cursors SET position = pos, last_trade = coalesce(last_id, last_trade) WHERE instrument = inst;
END $$;
-- +goose StatementEnd

-- There is no way down: it would drop what is recorded.
