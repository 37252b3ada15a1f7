-- When each phase of a job began and ended. A table of its own: lists of jobs and floods of output, which
-- read and write their jobs' rows, carry none of it.
CREATE TABLE phase_times (
    job_number INTEGER PRIMARY KEY REFERENCES jobs (number),
    zero TEXT NOT NULL, -- the first moment
    offsets_microseconds TEXT NOT NULL -- JSON object: how long after it each moment was, by its name
) STRICT;
