//! DNS over TCP through hickory-server: it frames, times out and pipelines (RFC 7766), we answer from the raw bytes.
//!
//! hickory-server decodes a message itself before we see it, and settles some things first:
//! - What it cannot decode gets its own FORMERR, with neither question nor OPT, and is not in our counters. That
//!   includes two OPT records and an ECS option of family 0, which is accepted over UDP.
//! - An answer (QR=1) that it can decode is ignored, as ours would be; one that it cannot is answered FORMERR, which is
//!   harmless on a connection.
//! - The number of connections per client is not limited; a connection that is idle for the timeout is closed.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Message};
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::Server;
use hickory_server::net::NetError;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use tracing::debug;

use super::{Plane, ServeError};
use crate::metrics::{Dropped, Transport};

/// Answers of one connection that wait to be written; hickory reads no further query while one does.
const ANSWERS_WAITING: usize = 32;

/// The listeners, accepting.
pub(super) struct Listeners {
    server: Server<Handler>,
    count: usize,
}

/// Accepts on all of `listeners`.
pub(super) fn start(listeners: Vec<TcpListener>, plane: Plane, timeout: Duration) -> io::Result<Listeners> {
    let mut server = Server::new(Handler { plane });
    let count = listeners.len();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        server.register_listener(tokio::net::TcpListener::from_std(listener)?, timeout, ANSWERS_WAITING);
    }
    Ok(Listeners { server, count })
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Waits until they end by themselves, which they should not.
    pub(super) async fn ended(&mut self) -> ServeError {
        match self.server.block_until_done().await {
            Ok(()) => ServeError::Tcp("all listeners closed".to_owned()),
            Err(error) => ServeError::Tcp(error.to_string()),
        }
    }

    /// Closes the listeners and their connections.
    pub(super) async fn shutdown(mut self) -> Result<(), ServeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.server.shutdown_gracefully().await.map_err(|error| ServeError::Tcp(error.to_string()))
    }
}

struct Handler {
    plane: Plane,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, handle: R) -> ResponseInfo {
        let reply = match self.plane.reply(request.as_slice(), request.src(), Transport::Tcp) {
            Ok(reply) => reply,
            Err(reason) => {
                self.plane.count_drop(reason);
                return silence(request);
            }
        };
        let question = reply.request.question.map(|question| question.wire);
        match send(reply.message, question.unwrap_or_default(), handle).await {
            Ok(info) => info,
            Err(error) => {
                debug!(%error, "TCP answer not sent");
                self.plane.count_drop(Dropped::Send);
                silence(request)
            }
        }
    }
}

/// Sends `message`; its question is taken from the bytes asked, so that letter case is kept.
async fn send<R: ResponseHandler>(message: Message, question: &[u8], mut handle: R) -> Result<ResponseInfo, NetError> {
    let count = usize::from(!question.is_empty());
    let queries = Queries::read(&mut BinDecoder::new(question), count).expect("a question that was read before");
    let response = MessageResponseBuilder::new(&queries, message.edns.as_ref()).build(
        message.metadata,
        &message.answers,
        &message.authorities,
        [],
        &message.additionals,
    );
    handle.send_response(response).await
}

/// What hickory-server wants to hear when nothing was sent.
fn silence(request: &Request) -> ResponseInfo {
    ResponseInfo::from(Header { metadata: request.metadata, counts: HeaderCounts::default() })
}
