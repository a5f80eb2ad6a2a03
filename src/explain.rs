//! Explanations: the causes of a refusal, this job's values for the publisher form, and where people read them.

pub mod causes;
pub mod evidence;
#[cfg(test)]
#[path = "../tests/it/golden.rs"]
mod golden;
pub mod id_token;
pub mod job;
pub mod messages;
pub mod published;
pub mod publisher_form;
pub mod pyproject;
pub mod report;
pub mod spelling;
