//! Every word for people about what went wrong, and about a job's identity.

pub mod causes;
pub mod messages;
pub mod publisher_form;
pub mod report;
