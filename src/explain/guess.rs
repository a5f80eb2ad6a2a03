//! What is left to guess where no publisher matched and nothing proves why.

use crate::error::Cause;
use crate::explain::job::Job;
use crate::explain::publisher_form::{Form, Provider};

impl Job<'_> {
    /// What may be the reason that nothing matched, likeliest first.
    pub fn guess(&self) -> Cause {
        // The first run of a workflow, as GitHub counts them: nothing was registered yet, more often than not. TestPyPI's
        // publishers are other than PyPI's, and few know.
        let is_first_run = self.claims.text("run_number").as_deref() == Some("1");
        let (differs, missing) = (self.field_differs(), self.not_registered());
        let texts = if is_first_run || self.index.is_testpypi() { [missing, differs] } else { [differs, missing] };
        Cause::possible(texts.join(". Or ")).in_form()
    }

    fn not_registered(&self) -> String {
        if self.index.is_testpypi() {
            return "nothing is registered for this job on TestPyPI, which has accounts and publishers of its own: a publisher on \
                    PyPI does not count here. Register it on TestPyPI, too"
                .to_owned();
        }
        format!(
            "no publisher is registered for this job on {}: it was never added, or on another index (TestPyPI has publishers of its \
             own), or it was a pending one, which is gone after 30 days, or once it was used or refused",
            self.index.name()
        )
    }

    fn field_differs(&self) -> String {
        let form = Form::of(self.claims);
        let mut text = format!(
            "one of the publisher's fields on {} differs from this job: compare them letter by letter with this job's values",
            self.index.name()
        );
        if form.provider != Provider::GitHub {
            return text;
        }
        text.push_str(" (.yml is not .yaml; was the repository or the workflow's file renamed?");
        text.push_str(match self.claims.text("environment") {
            Some(_) => " A publisher that names no environment matches this job, too)",
            None => {
                " The job has no environment: if the publisher names one, add `environment:` with that name to the job)"
            }
        });
        text.push_str(
            ". If every field agrees, the owner ID may be another one (the repository was moved, or the account made anew), a field \
             may have a stray space, or the environment was stored with capitals: delete the publisher and add it again",
        );
        text
    }
}
