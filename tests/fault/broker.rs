//! RabbitMQ, cut off, killed, blocked and robbed of its queues: nothing that was confirmed is lost, nobody hangs, everybody comes back.

mod away;
mod cuts;
mod given;
mod processes;
