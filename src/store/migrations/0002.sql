-- Flows are counted from this index alone, without a look at their jobs. The older one stays: lists of the jobs of
-- a flow come in order from it.
CREATE INDEX jobs_by_flow_state ON jobs (flow, uid, state, finished_wall_ms) WHERE flow IS NOT NULL;
