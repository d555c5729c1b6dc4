//! Receiving a body, and going on where it broke off: what comes then must be the same body, byte for byte, which takes a
//! strong validator.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Head;
use super::intake::Intake;
use super::task::Task;
use crate::metrics::Resumed;
use crate::origin::{self, Failure};
use crate::policy::{range, validator};

/// Before each try to go on.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1)];

/// So many new bytes make up for the tries it took to get them.
const PROGRESS: u64 = 256 << 10;

/// Why a fetch was given up.
pub(super) enum Unfinished {
    /// Nobody reads it.
    Unread,
    /// Those who read it take nothing.
    Untaken,
    /// It broke off, or is not right.
    Broken(&'static str),
}

impl Unfinished {
    /// For the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unread => "nobody reads it",
            Self::Untaken => "those who read it take nothing",
            Self::Broken(reason) => reason,
        }
    }
}

/// Why a body did not come to its end.
enum Stop {
    /// The connection broke, or nothing came for too long. What came so far is right.
    Broken(&'static str),
    /// Nobody reads it.
    Unread,
    /// Those who read it take nothing.
    Untaken,
    /// What came is not right.
    Wrong(&'static str),
}

impl Task<'_> {
    /// Receives the body: to readers as it comes, to the store in chunks, and at its sure end the object itself.
    pub(super) async fn receive(&self, answer: Response<origin::Answer>, head: &Head) -> Result<(), Unfinished> {
        if head.object.is_inline() {
            self.put_whole(head, &head.object).await;
            return Ok(());
        }
        let mut intake = Intake::new(self, head);
        let (mut body, mut skip) = (answer.into_body(), 0);
        let (mut tries, mut reached) = (0, 0);
        loop {
            let taken = self.take_all(&mut intake, body, skip).await;
            // What follows may wait.
            self.fill.tell();
            let broken = match taken {
                Ok(()) => return intake.complete().await.map_err(Unfinished::Broken),
                Err(Stop::Unread) => {
                    intake.keep_what_came().await;
                    return Err(Unfinished::Unread);
                }
                Err(Stop::Untaken) => {
                    intake.keep_what_came().await;
                    return Err(Unfinished::Untaken);
                }
                Err(Stop::Wrong(reason)) => return Err(Unfinished::Broken(reason)),
                Err(Stop::Broken(reason)) => reason,
            };
            if intake.reached() >= reached + PROGRESS {
                tries = 0;
            }
            reached = intake.reached();
            (body, skip) = loop {
                if tries >= self.view.resumes_max || !self.may_go_on(&intake, head) {
                    return Err(Unfinished::Broken(broken));
                }
                tokio::time::sleep(PAUSES[(tries as usize).min(PAUSES.len() - 1)]).await;
                tries += 1;
                let resumed = self.resume(&mut intake, head).await;
                self.plan.site.metrics.resumed(if resumed.is_ok() { Resumed::Same } else { Resumed::Failed });
                match resumed {
                    Ok(resumed) => break resumed,
                    // It may be back in a moment.
                    Err(Some(failure)) if failure.is_disconnected() => {}
                    Err(_) => return Err(Unfinished::Broken(broken)),
                }
            };
        }
    }

    /// Takes in all of `body` but its first `skip` bytes.
    async fn take_all(&self, intake: &mut Intake<'_>, mut body: origin::Answer, mut skip: u64) -> Result<(), Stop> {
        let mut due = None;
        loop {
            let bytes = match self.next(&mut body, &mut due).await? {
                Some(bytes) => bytes,
                None if skip > 0 || intake.is_short() => return Err(Stop::Wrong("less than announced")),
                None => return Ok(()),
            };
            self.plan.site.metrics.fetched.inc_by(bytes.len() as u64);
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= skipped as u64;
            if !intake.take(bytes.slice(skipped..)).await {
                return Err(Stop::Untaken);
            }
            if intake.is_too_much() {
                return Err(Stop::Wrong("more than announced"));
            }
            if !self.is_worth_it(intake) && self.worker.edge.fills.abandon(&self.plan.key, self.fill) {
                return Err(Stop::Unread);
            }
        }
    }

    /// The next bytes; `None` at the sure end. Readers are told of what came before anything is waited for, a herd of them not before
    /// what it has not been told of is `due`.
    async fn next(&self, body: &mut origin::Answer, due: &mut Option<Instant>) -> Result<Option<Bytes>, Stop> {
        loop {
            let mut frame = std::pin::pin!(body.frame());
            let mut now = std::future::poll_fn(|cx| Poll::Ready(frame.as_mut().poll(cx))).await;
            if now.is_pending()
                && let Some(pause) = self.fill.pause()
            {
                let due = *due.get_or_insert_with(|| Instant::now() + pause);
                now = tokio::time::timeout_at(due, frame.as_mut()).await.map_or(Poll::Pending, Poll::Ready);
            }
            let frame = match now {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.fill.tell();
                    *due = None;
                    let waited = tokio::time::timeout(self.worker.origins.read_timeout, frame).await;
                    waited.map_err(|_| Stop::Broken("the origin stalled"))?
                }
            };
            match frame.transpose() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Err(error) if Failure::of_exchange(&error).is_disconnected() => {
                    return Err(Stop::Broken("the origin broke off"));
                }
                Err(_) => return Err(Stop::Wrong("the origin's body is malformed")),
            }
        }
    }

    /// Whether somebody reads it, or it goes on without.
    fn is_worth_it(&self, intake: &Intake<'_>) -> bool {
        let alone = self.plan.detached && intake.may_run_alone();
        alone || intake.is_nearly_done() || self.fill.is_wanted()
    }

    fn may_go_on(&self, intake: &Intake<'_>, head: &Head) -> bool {
        self.is_worth_it(intake)
            && head.object.can_be_completed(self.worker.edge.clock.now())
            && self.may_store(&head.key, &head.object)
    }

    /// Asks for what is missing of the same body: the rest, and how many bytes of it came already. `Err`: there is none.
    async fn resume(&self, intake: &mut Intake<'_>, head: &Head) -> Result<(origin::Answer, u64), Option<Failure>> {
        let (at, end) = (intake.position(), intake.end());
        let original = head.object.original_headers();
        let now = self.worker.edge.clock.now();
        let mut fields = self.unconditional().into_owned();
        // Without an end where it is the body's: an origin that knows it better says so.
        fields.insert(RANGE, range::bytes(at, end.filter(|end| Some(*end) != head.length)));
        fields.extend(validator::for_if_range(&original, now).map(|validator| (IF_RANGE, validator)));
        let (answer, exchange) = self.send(&fields, false, true).await.map_err(Some)?;
        if !origin::has_a_sure_end(&answer)
            || !validator::same_strong(&original, answer.headers(), exchange.response_time)
        {
            return Err(None);
        }
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (first, to, whole) = range::received(answer.headers()).ok_or(None)?;
                let fits = first == at
                    && end.is_none_or(|end| to == end)
                    && head.length.is_none_or(|length| length == whole)
                    && (end.is_some() || to == whole);
                if !fits {
                    return Err(None);
                }
                intake.expect_end(to);
                Ok((answer.into_body(), 0))
            }
            // All of it once more, from an origin that has no parts.
            StatusCode::OK if end == head.length => {
                let length = crate::headers::content_length(answer.headers());
                if head.length.is_some() && length.is_some() && head.length != length {
                    return Err(None);
                }
                Ok((answer.into_body(), at))
            }
            _ => Err(None),
        }
    }
}
