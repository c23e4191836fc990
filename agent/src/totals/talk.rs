//! The exchange: report, reply, pause.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scope_totals_wire::VERSION;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::board::TotalsBoard;
use super::connection::{Answer, Connection, Dialled};
use super::conversation::{Conversation, HeldLists, Next};
use super::credentials::{Credentials, Peer};
use super::error::ExchangeError;
use super::health::Present;

/// The sampler looks at the node within a second. While it has nothing to tell, as before the pods of
/// the node are known, it is asked again.
const LOOK: Duration = Duration::from_secs(2);
/// After this time something is wrong.
const NO_SAMPLE: Duration = Duration::from_secs(15);

/// What an exchange needs besides the board.
pub struct TalkSettings {
    /// The directory with the token, and with how to reach the service.
    pub directory: PathBuf,
    /// A name that no other process has; letters, digits and dashes.
    pub boot: String,
    /// Is notified when somebody asks for a report after a time in which nobody did.
    pub asked_again: Arc<Notify>,
    /// Has the sampler look at the node soon, and [tell](TotalsBoard::tell) what it saw.
    pub want_look: Box<dyn Fn() + Send + Sync>,
    /// How the agent is at present.
    pub present: Box<dyn Fn() -> Present + Send + Sync>,
    /// Opens a stream to an address.
    pub dial: Box<dyn Fn(String) -> Dialled + Send + Sync>,
    /// From 0 to 1, another one on each node and each time.
    pub chance: fn() -> f64,
}

/// Talks to the service until `stop`.
pub async fn talk(settings: TalkSettings, board: Arc<TotalsBoard>, stop: CancellationToken) {
    let mut talk = Talk {
        conversation: Conversation::new(settings.boot.clone()),
        connection: None,
        settings,
        board,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = talk.go_on() => {}
    }
}

struct Talk {
    settings: TalkSettings,
    board: Arc<TotalsBoard>,
    conversation: Conversation,
    connection: Option<Connection>,
}

impl Talk {
    async fn go_on(&mut self) {
        loop {
            let next = match self.round().await {
                Ok(next) => next,
                Err(error) => self.failed(&error),
            };
            if next.anew {
                self.connection = None;
            }
            self.board.connected(self.connection.is_some());
            tokio::select! {
                () = tokio::time::sleep(next.wait) => {}
                () = self.asked(), if next.until_asked => {}
            }
        }
    }

    /// Somebody asks for reports. It may have been said before, and be over by now.
    async fn asked(&self) {
        while !(self.settings.present)().watched {
            self.settings.asked_again.notified().await;
        }
    }

    fn failed(&mut self, error: &ExchangeError) -> Next {
        if self.board.failed(error) {
            tracing::warn!("no totals of controllers come: {error}");
        }
        self.conversation.failed(error, (self.settings.chance)())
    }

    /// One exchange.
    async fn round(&mut self) -> Result<Next, ExchangeError> {
        let Credentials { token, peer } = Credentials::read(&self.settings.directory)?;
        if self.board.measured().borrow().is_none() {
            // Nobody is to be bothered before there is anything to tell: after a restart of all agents the
            // service has handshakes enough. The report stays open until there is a connection.
            self.report().await?;
        }
        let mut is_new = self.connect(&peer).await?;
        let report = self.report().await?;
        let Answer { reply, closes } = loop {
            let Some(connection) = &mut self.connection else {
                is_new = self.connect(&peer).await?;
                continue;
            };
            match connection.exchange(&token, report.clone()).await {
                Ok(answer) => break answer,
                // The service may have closed it a moment before. What it has taken already it does
                // not take twice.
                Err(ExchangeError::Cut(_)) if !is_new => self.connection = None,
                Err(error) => return Err(error),
            }
        };
        if reply.version != VERSION {
            let version = format!("its version is {}, not {VERSION}", reply.version);
            return Err(ExchangeError::NotAReply(version));
        }
        let now = Instant::now();
        let next = self.conversation.replied(&reply, now);
        let interval = self.conversation.interval();
        let warming = reply.warming;
        if self.board.replied(reply, interval, now) {
            tracing::info!(?interval, ?warming, "scope-totals answers");
        }
        Ok(Next {
            anew: closes,
            ..next
        })
    }

    /// Connects unless there is a connection with this peer. Whether it is a new one.
    async fn connect(&mut self, peer: &Peer) -> Result<bool, ExchangeError> {
        let usable = |open: &Connection| open.peer == *peer && !open.is_closed();
        if self.connection.as_ref().is_some_and(usable) {
            return Ok(false);
        }
        self.connection = None;
        let stream = (self.settings.dial)(peer.address.clone());
        self.connection = Some(Connection::open(peer.clone(), stream).await?);
        Ok(true)
    }

    /// The last report, if no reply came to it and it is of now still, or a new one.
    async fn report(&mut self) -> Result<Bytes, ExchangeError> {
        if let Some(open) = self.conversation.open(Instant::now()) {
            return Ok(open);
        }
        let wanted = Instant::now();
        let mut measured = self.board.measured();
        let look = async {
            loop {
                (self.settings.want_look)();
                let is_new = measured.wait_for(|measured| {
                    let measured = measured.as_ref();
                    measured.is_some_and(|measured| measured.taken >= wanted)
                });
                // The board is there for as long as this, so it is only the time that can be up.
                if let Ok(Ok(measured)) = timeout(LOOK, is_new).await {
                    break measured.clone();
                }
            }
        };
        let measured = timeout(NO_SAMPLE, look).await.ok().flatten();
        match measured {
            Some(measured) => {
                let now = Instant::now();
                let podless = self.board.podless(now);
                let services = self.board.services(now);
                let held = HeldLists {
                    podless: podless.map(|list| list.version()),
                    services: services.map(|list| list.version()),
                };
                let present = (self.settings.present)();
                Ok(self.conversation.report(&measured, held, present))
            }
            None => Err(ExchangeError::NoSample),
        }
    }
}
