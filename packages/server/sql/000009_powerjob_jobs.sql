-- Jobs saved through the PowerJob wire: what was sent and no other column can give back exactly (powerjob/job-codec.ts).
-- A member counts only as long as it says the same as the columns, which the native API may change.
alter table oncejob.job add column powerjob jsonb;

-- deleted jobs are listed on that wire, too
drop index oncejob.job_app;
create index job_app on oncejob.job (app_id, id);
