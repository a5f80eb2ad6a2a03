//! What is behind a refusal, this job in the words of the index's form, and where people see all of it.

pub mod causes;
pub mod evidence;
#[cfg(test)]
mod golden;
pub mod id_token;
pub mod job;
pub mod publisher_form;
pub mod report;
