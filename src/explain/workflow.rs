//! Faults of the job's workflow itself, whatever publishers are registered.

use crate::explain::Cause;
use crate::explain::job::Job;
use crate::explain::publisher_form::{workflow_file, workflow_repository};
use crate::text::shown;

impl Job<'_> {
    /// Why the index would refuse the workflow for certain.
    pub fn causes_in_workflow(&self) -> Vec<Cause> {
        let is_target = self.claims.text("event_name").as_deref() == Some("pull_request_target");
        let target = is_target.then(|| self.pull_request_target());
        target.into_iter().chain(self.runs_elsewhere().map(|called| self.called_elsewhere(&called))).collect()
    }

    /// The same, and the advice on a called file.
    pub fn workflow(&self) -> Vec<Cause> {
        self.causes_in_workflow().into_iter().chain(self.called_file()).collect()
    }

    /// The event `pull_request_target` started the workflow.
    pub fn pull_request_target(&self) -> Cause {
        Cause::certain(format!(
            "the workflow was started by pull_request_target, and {} takes no job that was: anybody who opens a pull request can \
             steer it. Publish from a workflow that starts on a push of a tag, on a release, or by workflow_dispatch",
            self.index.name()
        ))
    }

    /// The job runs in a reusable workflow of another repository.
    pub fn called_elsewhere(&self, called: &str) -> Cause {
        Cause::certain(format!(
            "the job runs in a reusable workflow of another repository, {}, and {} can't match such a job to a publisher. Call \
             that workflow to build, if you like, but put the job that mints and uploads into a workflow file of your own \
             repository, and register that file",
            shown(called),
            self.index.name()
        ))
    }

    /// The job runs in a reusable workflow of its own repository.
    pub fn called_file(&self) -> Option<Cause> {
        let file = |claim| self.claims.text(claim).and_then(|of| workflow_file(&of).map(shown));
        let (called, caller) = (file("job_workflow_ref")?, file("workflow_ref")?);
        self.claims.text("repository").filter(|_| called != caller && self.runs_elsewhere().is_none())?;
        let text = format!(
            "the job runs in {called}, a reusable workflow that {caller} calls, and {} looks at the called file: Workflow name \
             has to be {called} (both files' names are in the ID token). Or put the job that mints and uploads into {caller} \
             itself and register that. It is the safer way: attestations name {caller}, so an upload from {called} may still be \
             refused",
            self.index.name()
        );
        Some(Cause::evidence(text))
    }

    /// The workflow that the job runs in, if that is another repository's.
    pub fn runs_elsewhere(&self) -> Option<String> {
        let (called, repository) = (self.claims.text("job_workflow_ref")?, self.claims.text("repository")?);
        let is_own = workflow_repository(&called).is_some_and(|of| of.eq_ignore_ascii_case(&repository));
        (!is_own).then_some(called)
    }
}
