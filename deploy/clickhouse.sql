-- Where pushguard's events go in ClickHouse 22.8 and later. The guard writes to it
-- with --events.url=clickhouse+http://HOST:8123/pushguard/events.
--
-- A record that had to be sent twice is there once: the table keeps one row of an
-- event_id and its time, and FINAL shows it before ClickHouse has merged the parts. The
-- window has the server know a batch that it took already. A push that came twice under
-- one Idempotency-Key has the same event_ids at two times: LIMIT 1 BY event_id has each once.
CREATE DATABASE IF NOT EXISTS pushguard;

CREATE TABLE IF NOT EXISTS pushguard.events
(
    event_id         FixedString(32),
    ts               DateTime64(9, 'UTC'),
    kind             LowCardinality(String),
    schema_version   UInt16,
    guard_instance   LowCardinality(String),
    job              LowCardinality(String),
    job_raw          String,
    owner            LowCardinality(String),
    method           LowCardinality(String),
    remote_ip        String,
    push_id          String,
    policy           LowCardinality(String),
    dag_id           LowCardinality(String),
    task_id          LowCardinality(String),
    run_id           String,
    map_index        String,
    try_number       String,
    app_id           String,
    operator         LowCardinality(String),
    state            LowCardinality(String),
    ol_event_type    LowCardinality(String),
    error_class      LowCardinality(String),
    error_message    String,
    duration_seconds Nullable(Float64),
    metric           LowCardinality(String),
    type             LowCardinality(String),
    value            Nullable(Float64),
    labels           Map(String, String),
    series_labels    Map(String, String),
    reason           LowCardinality(String),
    detail           String,
    http_status      UInt16,
    label            LowCardinality(String),
    value_sample     String,
    `limit`          Int64,
    observed         Int64,
    series_in_push   Int64,
    body_bytes       Int64,
    `group`          String
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (job, dag_id, task_id, ts, event_id)
TTL toDateTime(ts) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000;
