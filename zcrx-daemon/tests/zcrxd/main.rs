//! The program as its users meet it: a real process, real sockets, real traffic on loopback.

mod config;
mod diagnosis;
mod harness;
mod lifecycle;
mod listen;
mod manager;
mod restart;
mod restart_sinks;
mod service;
mod stuck_log;
mod tls;
mod top;
mod traffic;
mod unprivileged;
mod web;
