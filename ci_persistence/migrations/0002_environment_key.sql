-- The key of the environment that an installation fills stands with the job: volumes are made, and
-- containers started, before anybody knows what they will hold. Until now it stood in the volume's name,
-- `ci-env-<8 characters>-<key>-<8 characters>`.

ALTER TABLE jobs ADD COLUMN run_environment_key TEXT;

UPDATE jobs SET run_environment_key = substr(run_environment, 17, 64)
WHERE status <> 'completed' AND run_stage = 'install' AND length(run_environment) = 89;
