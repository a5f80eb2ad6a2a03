//! Bytes on the wire: where a request may go, the connection that it goes by, and the reply.

pub mod connection;
pub mod deadline;
pub mod http;
pub mod http_error;
pub mod interim;
pub mod proxy;
pub mod relay;
pub mod url;
