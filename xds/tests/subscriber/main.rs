//! The delta protocol, told as scripts of requests and changes; each test is named by the behaviour it holds.

mod model;
mod script;

mod gating;
mod live;
mod order;
mod property;
mod refusal;
mod removal;
mod subscription;
