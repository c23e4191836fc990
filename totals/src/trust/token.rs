//! What a token says of itself, before anybody has confirmed it. It is asked only what is worth a review, and
//! for how long a review holds.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use scope_totals_wire::AUDIENCE;
use serde::Deserialize;

use super::Refused;

/// A projected token has some 1,200 characters.
const LONGEST: usize = 8192;
/// A review holds for so long at most: an account that was removed is out by then.
const HOLDS: SignedDuration = SignedDuration::from_hours(1);

/// The claims that are read.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    exp: i64,
    #[serde(default)]
    aud: Audiences,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Reads the claims of a token that is not expired and for this audience.
pub(super) fn claims(token: &str, wall: Timestamp) -> Result<Claims, Refused> {
    let claims = read(token).ok_or(Refused::NotAToken)?;
    let is_ours = match &claims.aud {
        Audiences::One(audience) => audience == AUDIENCE,
        Audiences::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
    };
    if !is_ours {
        return Err(Refused::Audience);
    }
    if claims.left(wall).is_zero() {
        return Err(Refused::Expired);
    }
    Ok(claims)
}

fn read(token: &str) -> Option<Claims> {
    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Whether a token says that it is for this service, and not over.
pub(crate) fn is_for_us(token: &str, wall: Timestamp) -> bool {
    claims(token, wall).is_ok()
}

/// Whether a token, for whomever, says that it is over.
pub(crate) fn is_over(token: &str, wall: Timestamp) -> bool {
    read(token).is_some_and(|claims| claims.left(wall).is_zero())
}

impl Claims {
    /// For how long what a review says of the token holds.
    pub(super) fn left(&self, wall: Timestamp) -> Duration {
        let ends = Timestamp::from_second(self.exp).unwrap_or(Timestamp::MIN);
        let left = ends.duration_since(wall).min(HOLDS);
        Duration::try_from(left).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wall() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn claims_of_a_projected_token() {
        let token = token(&json!({"aud": [AUDIENCE], "exp": 1_000_060, "sub": "x"}));
        let claims = claims(&token, wall()).unwrap();
        assert_eq!(claims.left(wall()), Duration::from_secs(60));
    }

    #[test]
    fn a_review_holds_an_hour_at_most() {
        let token = token(&json!({"aud": AUDIENCE, "exp": i64::MAX}));
        assert!(claims(&token, wall()).is_err(), "no such time");
        let token = self::token(&json!({"aud": AUDIENCE, "exp": 2_000_000}));
        let claims = claims(&token, wall()).unwrap();
        assert_eq!(claims.left(wall()), Duration::from_secs(3600));
    }

    #[test]
    fn what_is_not_worth_a_review() {
        let good = json!({"aud": [AUDIENCE], "exp": 1_000_060});
        let refused = |token: &str| claims(token, wall()).unwrap_err();
        let expired = token(&json!({"aud": [AUDIENCE], "exp": 1_000_000}));
        assert_eq!(refused(&expired), Refused::Expired);
        let other = token(&json!({"aud": ["https://kubernetes.default.svc"], "exp": 1_000_060}));
        assert_eq!(refused(&other), Refused::Audience);
        assert_eq!(
            refused(&token(&json!({"exp": 1_000_060}))),
            Refused::Audience
        );
        let long = token(&json!({"aud": [AUDIENCE], "exp": 1_000_060, "x": "y".repeat(LONGEST)}));
        for text in [
            "",
            "a.b",
            "..",
            &format!("{}.d", token(&good)),
            &token(&json!([])),
            &token(&json!({"aud": [AUDIENCE]})),
            &token(&json!({"aud": [AUDIENCE], "exp": "soon"})),
            &long,
        ] {
            assert_eq!(refused(text), Refused::NotAToken, "{text:.40}");
        }
    }
}
