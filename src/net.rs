//! The network: where a request may go, its connection, and the reply.

pub mod connection;
pub mod deadline;
pub mod http;
pub mod http_error;
pub mod interim;
pub mod proxy;
pub mod relay;
pub mod url;
