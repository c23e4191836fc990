//! Who may see figures: whoever may list the metrics of these pods or nodes, as for `kubectl top`.
//!
//! The API server's proxy of Services says nobody's name, so people bring a token in a header of its own. The API server
//! says whose it is, and whether that user has the right.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use scope_totals_wire::{AUDIENCE, TOKEN_HEADER};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    metrics::Metrics,
    time::Moment,
    trust::{Strikes, is_for_us, is_over},
};

/// The group of the right.
const GROUP: &str = "metrics.k8s.io";
/// Reviews at once. People come one by one, and agents' tokens have others.
const REVIEWS: usize = 4;
/// A review that takes longer has failed. So long a request waits for one, too.
const REVIEW: Duration = Duration::from_secs(4);
/// The longest token. A head has 8 KiB for all that is in it.
const LONGEST: usize = 7 << 10;
/// Whose a token is, is asked again so often: who is signed out is out by then.
const KNOWN: Duration = Duration::from_secs(60);
/// And whether somebody has a right.
const GRANTED: Duration = Duration::from_secs(30);
/// What was refused may be granted the next moment, and people try again.
const REFUSED: Duration = Duration::from_secs(5);
/// People who ask, of a cluster in which many do.
const TOKENS: usize = 512;
/// And what they ask about.
const RIGHTS: usize = 2048;

/// What somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Figures of pods, and of controllers and Services, which are of pods: in a namespace, or in all.
    Pods(Option<String>),
    /// Figures of nodes.
    Nodes,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(Some(namespace)) => {
                write!(f, "list pods of {GROUP} in the namespace {namespace}")
            }
            Self::Pods(None) => write!(f, "list pods of {GROUP} in all namespaces"),
            Self::Nodes => write!(f, "list nodes of {GROUP}"),
        }
    }
}

/// Why somebody is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// No token.
    #[error(
        "there is no token in the header {TOKEN_HEADER}, since the API server passes no other one on: bring one, such as \
         of `kubectl create token ACCOUNT --audience {AUDIENCE}`, as `Bearer TOKEN`"
    )]
    NoToken,
    /// One that is no good.
    #[error(
        "the API server does not accept the token in the header {TOKEN_HEADER}, neither for the audience \
         {AUDIENCE} nor for its own: make a new one"
    )]
    Token,
    /// Without the right.
    #[error(
        "{user} may not {right}, which is the right of `kubectl top`: bind a role with it to them"
    )]
    Right {
        /// Who.
        user: Arc<str>,
        /// What is missing.
        right: Right,
    },
    /// Too many bad tokens from one address.
    #[error(
        "too many tokens that are not valid came from where this came from; try again in a minute"
    )]
    Strikes,
    /// Too many questions of one person.
    #[error("too many questions at once: ask again later")]
    Rate,
    /// Not known now.
    #[error("the API server does not say now whose the token is and what they may; try again")]
    Unreviewed,
}

/// Somebody, as the API server knows them.
#[derive(Debug)]
struct User {
    name: Arc<str>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

/// A token's digest: tokens themselves are not kept.
type Name = [u8; 32];

/// What reviews have said. `None` is somebody who is nobody.
#[derive(Default)]
struct Memory {
    users: HashMap<Name, (Option<Arc<User>>, Moment)>,
    /// Tokens that were counted against an address.
    struck: HashMap<Name, ((), Moment)>,
    rights: HashMap<(Name, Right), (bool, Moment)>,
    strikes: Strikes,
}

/// Asks the API server who may see what.
pub struct Guard {
    client: Client,
    turns: Semaphore,
    memory: Mutex<Memory>,
    metrics: Arc<Metrics>,
}

impl Guard {
    /// By this client.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            turns: Semaphore::new(REVIEWS),
            memory: Mutex::default(),
            metrics,
        }
    }

    /// Who it is that brings this token, if they have the right. `wall` and `now` are the same moment on two clocks.
    /// Before the API server is asked about rights, `admit` says whether that person may ask for anything now.
    pub async fn allowed(
        &self,
        token: &str,
        from: IpAddr,
        right: &Right,
        wall: Timestamp,
        now: Moment,
        admit: impl FnOnce(&Arc<str>) -> bool,
    ) -> Result<Arc<str>, NotAllowed> {
        // A token that has spaces or worse in it is none, and is written into no request.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAllowed::NoToken);
        }
        // One that says of itself that it is over costs no review, so that whoever has gone on with it for too long is
        // not counted against all others who come by the same API server.
        if token.len() > LONGEST || is_over(token, wall) {
            return Err(NotAllowed::Token);
        }
        let name: Name = Sha256::digest(token).into();
        let user = self.user(name, token, from, wall, now).await?;
        let user = user.ok_or(NotAllowed::Token)?;
        if !admit(&user.name) {
            return Err(NotAllowed::Rate);
        }
        match self.has(name, &user, right, now).await? {
            true => Ok(Arc::clone(&user.name)),
            false => Err(NotAllowed::Right {
                user: Arc::clone(&user.name),
                right: right.clone(),
            }),
        }
    }

    async fn user(
        &self,
        name: Name,
        token: &str,
        from: IpAddr,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Option<Arc<User>>, NotAllowed> {
        {
            let memory = self.memory();
            if let Some(known) = known(&memory.users, &name, now) {
                return Ok(known);
            }
            if !memory.strikes.may_ask(from, now) {
                return Err(NotAllowed::Strikes);
            }
        }
        let user = self.review(token, is_for_us(token, wall)).await;
        self.metrics.reviewed(match &user {
            Some(Some(_)) => "user",
            Some(None) => "invalid",
            None => "failed",
        });
        let user = user.ok_or(NotAllowed::Unreviewed)?.map(Arc::new);
        let mut memory = self.memory();
        // Somebody who tries with one token again and again is no reason either to keep the others out, and is not
        // reviewed again so soon.
        let was_struck = known(&memory.struck, &name, now).is_some();
        let holds = match &user {
            None if !was_struck => {
                memory.strikes.strike(from, now);
                keep(&mut memory.struck, TOKENS, name, (), KNOWN, now);
                REFUSED
            }
            _ => KNOWN,
        };
        keep(&mut memory.users, TOKENS, name, user.clone(), holds, now);
        Ok(user)
    }

    async fn has(
        &self,
        name: Name,
        user: &User,
        right: &Right,
        now: Moment,
    ) -> Result<bool, NotAllowed> {
        let of = (name, right.clone());
        if let Some(known) = known(&self.memory().rights, &of, now) {
            return Ok(known);
        }
        let has = self.access(user, right).await;
        self.metrics.access_reviewed(match has {
            Some(true) => "allowed",
            Some(false) => "denied",
            None => "failed",
        });
        let has = has.ok_or(NotAllowed::Unreviewed)?;
        let holds = if has { GRANTED } else { REFUSED };
        let mut memory = self.memory();
        keep(&mut memory.rights, RIGHTS, of, has, holds, now);
        Ok(has)
    }

    /// Whose a token is, nobody's, or nothing if the API server does not say. One for this service is good for nothing
    /// else, and so is the better one; who has none brings that with which they speak to the API server.
    async fn review(&self, token: &str, for_us: bool) -> Option<Option<User>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: for_us.then(|| vec![AUDIENCE.into()]),
                token: Some(token.into()),
            },
            ..TokenReview::default()
        };
        let review = self.create(&review).await?;
        Some(user(review.status?, for_us))
    }

    async fn access(&self, user: &User, right: &Right) -> Option<bool> {
        let (resource, namespace) = match right {
            Right::Pods(namespace) => ("pods", namespace.clone()),
            Right::Nodes => ("nodes", None),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.as_ref().into()),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    resource: Some(resource.into()),
                    verb: Some("list".into()),
                    namespace,
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let status = self.create(&review).await?.status?;
        Some(status.allowed && status.denied != Some(true))
    }

    async fn create<K>(&self, review: &K) -> Option<K>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        // It is never closed.
        let reviewing = async {
            let _turn = self.turns.acquire().await.ok()?;
            let reviews: Api<K> = Api::all(self.client.clone());
            match reviews.create(&PostParams::default(), review).await {
                Ok(review) => Some(review),
                Err(error) => {
                    tracing::debug!("who asks could not be reviewed: {error}");
                    None
                }
            }
        };
        tokio::time::timeout(REVIEW, reviewing).await.ok().flatten()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who it is, if it is anybody who may be asked about.
fn user(status: TokenReviewStatus, for_us: bool) -> Option<User> {
    let audiences = status.audiences.as_deref().unwrap_or_default();
    let is_ours = audiences.iter().any(|audience| audience == AUDIENCE);
    // A server that passes over audiences names none.
    if status.authenticated != Some(true) || for_us && !is_ours {
        return None;
    }
    let UserInfo {
        username,
        uid,
        groups,
        extra,
    } = status.user?;
    let name = username.filter(|name| !name.is_empty())?;
    Some(User {
        name: name.into(),
        uid,
        groups,
        extra,
    })
}

fn known<K: Eq + Hash, V: Clone>(
    kept: &HashMap<K, (V, Moment)>,
    key: &K,
    now: Moment,
) -> Option<V> {
    let (value, until) = kept.get(key)?;
    (*until > now).then(|| value.clone())
}

/// Where there is no room it is asked again.
fn keep<K: Eq + Hash, V>(
    kept: &mut HashMap<K, (V, Moment)>,
    most: usize,
    key: K,
    value: V,
    holds: Duration,
    now: Moment,
) {
    if kept.len() >= most {
        kept.retain(|_, (_, until)| *until > now);
    }
    if kept.len() < most {
        kept.insert(key, (value, now.plus(holds)));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use axum::{
        body::Body,
        http::{Request, Response},
    };
    use serde_json::json;

    use super::*;

    fn status(name: &str, audiences: &[&str]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|&word| word.into()).collect()),
            user: Some(UserInfo {
                username: Some(name.into()),
                groups: Some(vec!["g".into()]),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_token_is_for_this_service_or_for_the_api_server() {
        let name = |status, for_us| user(status, for_us).map(|user| user.name.to_string());
        let (ours, its) = (&[AUDIENCE][..], &["https://kubernetes.default.svc"][..]);
        assert_eq!(name(status("jane", ours), true).as_deref(), Some("jane"));
        assert_eq!(name(status("jane", its), false).as_deref(), Some("jane"));
        assert_eq!(name(status("jane", its), true), None, "it passed over it");
        assert_eq!(name(status("", its), false), None, "nobody");
        let mut refused = status("jane", its);
        refused.authenticated = Some(false);
        assert_eq!(name(refused, false), None);
    }

    /// An API server that knows nobody, and how often it was asked.
    fn stranger() -> (Client, Arc<AtomicUsize>) {
        let asked: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&asked);
        let server = tower::service_fn(move |_: Request<kube::client::Body>| {
            count.fetch_add(1, Relaxed);
            async {
                let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
                    "metadata": {}, "spec": {}, "status": {"authenticated": false}});
                Ok::<_, Infallible>(Response::new(Body::from(review.to_string())))
            }
        });
        (Client::new(server, "default"), asked)
    }

    #[tokio::test]
    async fn a_bad_token_that_comes_again_and_again_is_one() {
        let (client, asked) = stranger();
        let guard = Guard::new(client, Arc::default());
        let from = IpAddr::from([10, 0, 0, 1]);
        let ask = async |token: &str, second| {
            let now = Moment::after_start(Duration::from_secs(second));
            let (right, wall) = (Right::Nodes, Timestamp::UNIX_EPOCH);
            let allowed = guard.allowed(token, from, &right, wall, now, |_| true);
            allowed.await.unwrap_err()
        };
        for second in (0..150).step_by(3) {
            assert_eq!(ask("bad", second).await, NotAllowed::Token);
        }
        assert_eq!(asked.load(Relaxed), 6, "twice in a minute");
        for number in 0..18 {
            let bad = format!("bad-{number}");
            assert_eq!(ask(&bad, 150).await, NotAllowed::Token);
        }
        assert_eq!(ask("bad-18", 150).await, NotAllowed::Token, "the twentieth");
        assert_eq!(ask("bad-19", 150).await, NotAllowed::Strikes);
    }

    #[test]
    fn verdicts_hold_for_a_while_and_there_is_room_for_so_many() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let mut kept = HashMap::new();
        for number in 0..10 {
            keep(&mut kept, 4, number, true, Duration::from_secs(5), at(0));
        }
        assert_eq!(kept.len(), 4);
        assert_eq!(known(&kept, &3, at(4)), Some(true));
        assert_eq!(known(&kept, &3, at(5)), None);
        assert_eq!(known(&kept, &4, at(4)), None, "no room");
        keep(&mut kept, 4, 11, false, Duration::from_secs(5), at(5));
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let missing = NotAllowed::Right {
            user: "jane".into(),
            right: Right::Pods(Some("apps".into())),
        };
        assert_eq!(
            missing.to_string(),
            "jane may not list pods of metrics.k8s.io in the namespace apps, which is the right of `kubectl \
             top`: bind a role with it to them"
        );
    }
}
