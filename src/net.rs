//! The network: where a request may go, its connection, and the reply.

pub mod connection;
pub mod http;
pub mod http1;
pub mod http_error;
pub mod proxy;
pub mod relay;
pub mod url;
