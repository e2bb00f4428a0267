//! Connections that one zcrxd leaves to the next.
//!
//! A connection goes on if nothing of it is left in this process: its sink can say where it stands in plain data and in descriptors, one of
//! which is a file with the payload that waits. Data that TCP has acknowledged since waits in the socket, and the next zcrxd receives it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use socket2::Socket;
use tracing::{error, warn};

use super::backend::{QueueState, SurvivingQueue};
use super::choices::SinkConfig;
use super::config::QueueConfig;
use super::connections::close::refuse;
use super::connections::{Connection, Receive, peer};
use super::sinks::{AnySink, Backlog, Sink, SinkState};
use super::target::Addresses;
use crate::model::QueueKey;

/// Name in the log for the queue of a connection that has none.
const OF_EARLIER: &str = "of the zcrxd before";

/// The connections of one queue, on their way from one zcrxd to the next. Serialized without the sockets, which go separately and
/// in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandedQueue {
    interface: Option<String>,
    queue: u32,
    listen: Vec<SocketAddr>,
    sink: String,
    connections: Vec<State>,
    /// The hardware queue that goes on; `None` for another queue.
    #[serde(default)]
    hardware: Option<QueueState>,
    /// Descriptors of the hardware queue.
    #[serde(skip)]
    descriptors: Vec<OwnedFd>,
    #[serde(skip)]
    sockets: Vec<Socket>,
    /// Descriptors of the sinks, those of the first connection first.
    #[serde(skip)]
    sink_descriptors: Vec<OwnedFd>,
}

/// Where a connection stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    peer: String,
    /// Whether the peer has sent its last byte, and the sink has it.
    ended: bool,
    sink: SinkState,
}

/// A connection outside of any loop.
#[derive(Debug)]
pub(super) struct Handed {
    socket: Socket,
    state: State,
    /// Descriptors of the sink.
    descriptors: Vec<OwnedFd>,
}

/// What a receive thread got from the zcrxd before, or leaves to the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Handover(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    connections: Vec<Handed>,
    queue: Option<SurvivingQueue>,
}

impl HandedQueue {
    /// Connections of a queue with this configuration.
    pub(super) fn new(config: &QueueConfig, handed: Vec<Handed>, queue: Option<SurvivingQueue>) -> Self {
        let (hardware, descriptors) = match queue.map(SurvivingQueue::into_parts) {
            Some((state, descriptors)) => (Some(state), descriptors),
            None => (None, Vec::new()),
        };
        let (mut sockets, mut connections, mut sink_descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for Handed { socket, state, descriptors } in handed {
            sockets.push(socket);
            connections.push(state);
            sink_descriptors.extend(descriptors);
        }
        Self {
            interface: config.interface.clone(),
            queue: config.queue,
            listen: config.listen.clone(),
            sink: describe(&config.sink),
            connections,
            hardware,
            descriptors,
            sockets,
            sink_descriptors,
        }
    }

    /// The interface whose hardware queue goes on; `None` for another queue.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref().filter(|_| self.hardware.is_some())
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection and no hardware queue.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.hardware.is_none()
    }

    /// Takes the descriptors of the hardware queue, to pass them on in this order.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Number of descriptors of the hardware queue that are missing.
    pub fn missing_descriptors(&self) -> usize {
        self.hardware.map_or(0, |_| QueueState::DESCRIPTORS) - self.descriptors.len()
    }

    /// Adds a descriptor of the hardware queue.
    pub fn add_descriptor(&mut self, descriptor: OwnedFd) {
        self.descriptors.push(descriptor);
    }

    /// Whether states from outside this process can be states of connections.
    pub fn is_sound(&self) -> bool {
        self.connections.iter().all(|state| state.sink.is_sound())
    }

    /// Takes the sockets, to pass them on in this order.
    pub fn take_sockets(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.sockets)
    }

    /// Adds the socket of the first connection that has none.
    pub fn add_socket(&mut self, socket: Socket) {
        self.sockets.push(socket);
    }

    /// Whether the connections can go on in a queue with this configuration. The number of a queue without an interface is only
    /// its position in the configuration.
    fn suits(&self, config: &QueueConfig) -> bool {
        self.interface == config.interface
            && (config.interface.is_none() || self.queue == config.queue)
            && self.listen == config.listen
            && self.sink == describe(&config.sink)
            && self.hardware.is_none_or(|hardware| hardware.suits(config))
    }

    /// Takes the descriptors of the sinks, to pass them on in this order.
    pub fn take_sink_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.sink_descriptors)
    }

    /// Number of descriptors of the sinks that are missing.
    pub fn missing_sink_descriptors(&self) -> usize {
        let all: usize = self.connections.iter().map(|state| state.sink.descriptors()).sum();
        all - self.sink_descriptors.len()
    }

    /// Adds a descriptor of the sinks.
    pub fn add_sink_descriptor(&mut self, descriptor: OwnedFd) {
        self.sink_descriptors.push(descriptor);
    }

    fn take_queue(&mut self) -> Option<SurvivingQueue> {
        SurvivingQueue::from_parts(self.hardware?, self.take_descriptors())
    }

    fn into_handed(self) -> impl Iterator<Item = Handed> {
        let mut descriptors = self.sink_descriptors.into_iter();
        self.sockets.into_iter().zip(self.connections).map(move |(socket, state)| {
            let descriptors = descriptors.by_ref().take(state.sink.descriptors()).collect();
            Handed { socket, state, descriptors }
        })
    }
}

/// Takes what suits a queue out of the list.
pub(super) fn take_for(config: &QueueConfig, list: &mut Vec<HandedQueue>) -> Handover {
    let Some(found) = list.iter().position(|queue| queue.suits(config)) else { return Handover::default() };
    let mut found = list.swap_remove(found);
    let queue = found.take_queue();
    let contents = Contents { connections: found.into_handed().collect(), queue };
    Handover(Arc::new(Mutex::new(contents)))
}

/// Ends what suits no queue, and returns the rest.
pub(super) fn refuse_unsuited(list: Vec<HandedQueue>, configs: &[QueueConfig]) -> Vec<HandedQueue> {
    let suits = |queue: &HandedQueue| configs.iter().any(|config| queue.suits(config));
    let (suited, others) = list.into_iter().partition(suits);
    refuse_all(others);
    suited
}

/// Ends connections that no queue takes. Logs what they lose.
pub(super) fn refuse_all(list: Vec<HandedQueue>) {
    for queue in list {
        let name = QueueKey { interface: queue.interface.clone(), queue: queue.queue }.to_string();
        warn!(
            queue = name,
            "{} connections of the zcrxd before end: no queue has its addresses and its sink any more",
            queue.len()
        );
        for handed in queue.into_handed() {
            handed.refuse(&name);
        }
    }
}

/// Ends connections whose state is unknown. Logs what they lose.
pub fn end_unknown(sockets: &[Socket]) {
    for socket in sockets {
        refuse(OF_EARLIER, socket);
    }
}

/// The sink in the words of the configuration.
fn describe(sink: &SinkConfig) -> String {
    match sink.destination() {
        Some(destination) => format!("{}:{destination}", sink.name()),
        None => sink.name().to_owned(),
    }
}

impl Handed {
    /// A connection that no loop has taken yet.
    pub(super) fn fresh(socket: Socket) -> Self {
        let state = State { peer: peer(&socket), ended: false, sink: SinkState::None };
        Self { socket, state, descriptors: Vec::new() }
    }

    /// Takes a connection out of a loop that has ended; returns it if its sink cannot go on in another process.
    pub(super) fn of(mut connection: Connection) -> Result<Self, Box<Connection>> {
        let Some(sink) = connection.sink.state() else { return Err(Box::new(connection)) };
        let descriptors = match connection.sink.take_descriptors() {
            Ok(descriptors) => descriptors,
            Err(error) => {
                let peer = &connection.peer;
                error!(peer, %error, "what waits for a sink cannot be left to the next zcrxd: raise LimitNOFILE= or MemoryMax= of the unit");
                return Err(Box::new(connection));
            }
        };
        let ended = connection.receive == Receive::Ended;
        let Connection { socket, peer, .. } = connection;
        Ok(Self { socket, state: State { peer, ended, sink }, descriptors })
    }

    /// Continues the connection, or ends it if its sink cannot go on. Then returns the number of bytes that are lost, and logs them.
    pub(super) fn into_connection(
        self,
        queue: &str,
        config: &SinkConfig,
        addresses: Option<&Arc<Addresses>>,
        backlog: &mut Backlog,
    ) -> Result<Connection, u64> {
        let Self { socket, state: State { peer, ended, sink }, descriptors } = self;
        let waiting = sink.waiting();
        let sink = match AnySink::restore(sink, descriptors, &peer, config, addresses, backlog) {
            Ok(sink) => sink,
            Err(error) => {
                error!(queue, peer, lost = waiting, %error, "the sink of a connection of the zcrxd before cannot go on: it ends");
                return Err(waiting + refuse(queue, &socket));
            }
        };
        let mut connection = Connection::new(socket, peer, sink);
        if ended {
            connection.receive = Receive::Ended;
        }
        Ok(connection)
    }

    /// Ends the connection. Logs what is lost of what TCP acknowledged: what waited for its sink, and what is unread in its socket.
    fn refuse(self, queue: &str) {
        let State { peer, sink, .. } = &self.state;
        let lost = sink.waiting();
        if lost > 0 {
            warn!(queue, peer, lost, "connection refused: {lost} bytes that waited for its sink are lost");
        }
        refuse(queue, &self.socket);
    }
}

impl Handover {
    /// Adds connections.
    pub(super) fn put(&self, handed: impl IntoIterator<Item = Handed>) {
        self.contents().connections.extend(handed);
    }

    /// Sets the hardware queue.
    pub(super) fn put_queue(&self, queue: Option<SurvivingQueue>) {
        self.contents().queue = queue;
    }

    /// Takes the hardware queue.
    pub(super) fn take_queue(&self) -> Option<SurvivingQueue> {
        self.contents().queue.take()
    }

    /// Takes all connections.
    pub(super) fn take(&self) -> Vec<Handed> {
        std::mem::take(&mut self.contents().connections)
    }

    /// Ends the connections. Logs what they lose.
    pub(super) fn refuse(&self) {
        for handed in self.take() {
            handed.refuse(OF_EARLIER);
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // A poisoned lock is harmless: each change adds or takes whole connections.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
