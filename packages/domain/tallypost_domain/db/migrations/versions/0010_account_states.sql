-- How each provider account does, as each worker sees it, for a page that shows the platform live.
-- It names no tenant, so grants guard it. A worker's rows go with the worker.
CREATE TABLE account_states (
    worker_id uuid NOT NULL,
    account text NOT NULL,
    provider text NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    -- When it may be asked again, where it is not asked now.
    asked_again_at timestamptz,
    CONSTRAINT pk_account_states PRIMARY KEY (worker_id, account),
    CONSTRAINT fk_account_states_worker_id_workers FOREIGN KEY (worker_id)
        REFERENCES workers (id) ON DELETE CASCADE,
    CONSTRAINT ck_account_states_state CHECK (state IN ('well', 'paused', 'open', 'half_open'))
);

GRANT SELECT, INSERT, UPDATE ON account_states TO tp_worker;
GRANT SELECT (id) ON workers TO tp_worker;
GRANT SELECT ON account_states TO tp_console;
