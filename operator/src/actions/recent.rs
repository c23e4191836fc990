//! Double clicks: the same control on the same object within a few seconds is one wish, whichever nodes and
//! probes it came through.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use scope_crds::Control;

/// A second click within this time is the first one again.
const SAME_CLICK: SignedDuration = SignedDuration::from_secs(5);
/// Clicks that are remembered: far more than plugins have places for in that time.
const REMEMBERED: usize = 256;

/// The last click on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Click {
    /// The object's UID.
    pub(super) uid: String,
    pub(super) control: Control,
    /// The ScopeAction's name.
    pub(super) action: String,
    pub(super) at: Timestamp,
    /// Whether it was carried out; it may be under way.
    pub(super) done: bool,
}

/// Whether the control done twice does more than done once, so that it matters whether a click is one again.
pub(super) fn adds_up(control: Control) -> bool {
    matches!(
        control,
        Control::RestartRollout | Control::ScaleUp | Control::ScaleDown | Control::TriggerCronJob
    )
}

/// The clicks of the last seconds, the oldest first; of each object the last one.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Click>);

impl Recent {
    /// Remembers a click, unless it is one again that is remembered: that one then.
    pub(super) fn take(&mut self, click: Click) -> Result<(), Click> {
        self.0
            .retain(|earlier| click.at.duration_since(earlier.at) < SAME_CLICK);
        let known = self.0.iter().position(|earlier| earlier.uid == click.uid);
        if let Some(known) = known {
            let earlier = &self.0[known];
            // One that was left alone for a moment comes by again.
            if earlier.control == click.control && earlier.action != click.action {
                return Err(earlier.clone());
            }
            // More, less, and more again: the third is not the first.
            self.0.remove(known);
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(click);
        Ok(())
    }

    /// It was carried out.
    pub(super) fn done(&mut self, action: &str) {
        if let Some(click) = self.0.iter_mut().find(|click| click.action == action) {
            click.done = true;
        }
    }

    /// Nothing came of it: the next click is not the same again.
    pub(super) fn forget(&mut self, action: &str) {
        self.0.retain(|click| click.action != action);
    }

    /// Starts over with what others did.
    pub(super) fn restart(&mut self, mut done: Vec<Click>) {
        done.sort_by_key(|click| click.at);
        self.0.clear();
        for click in done {
            let _ = self.take(click);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn click(second: i64, uid: &str, control: Control, action: &str) -> Click {
        Click {
            uid: uid.into(),
            control,
            action: action.into(),
            at: Timestamp::UNIX_EPOCH + second.seconds(),
            done: false,
        }
    }

    #[test]
    fn the_same_within_five_seconds_is_one() {
        use Control::{ScaleDown, ScaleUp};
        let mut recent = Recent::default();
        let first = click(0, "web", ScaleUp, "a-1");
        assert_eq!(recent.take(first.clone()), Ok(()));
        assert_eq!(
            recent.take(click(3, "web", ScaleUp, "a-2")),
            Err(first.clone()),
            "under way"
        );
        recent.done("a-1");
        let again = recent.take(click(4, "web", ScaleUp, "a-2")).unwrap_err();
        assert!(again.done, "{again:?}");
        assert_eq!(
            recent.take(click(4, "api", ScaleUp, "a-3")),
            Ok(()),
            "another object"
        );
        assert_eq!(
            recent.take(first),
            Ok(()),
            "the same action, looked at again"
        );
        assert_eq!(recent.take(click(5, "web", ScaleUp, "a-4")), Ok(()));
        assert_eq!(
            recent.take(click(6, "web", ScaleDown, "a-5")),
            Ok(()),
            "another wish"
        );
        assert_eq!(
            recent.take(click(7, "web", ScaleUp, "a-6")),
            Ok(()),
            "and back"
        );
    }

    #[test]
    fn what_came_to_nothing_is_no_first_click() {
        let mut recent = Recent::default();
        recent
            .take(click(0, "web", Control::ScaleUp, "a-1"))
            .unwrap();
        recent.forget("a-1");
        assert_eq!(
            recent.take(click(1, "web", Control::ScaleUp, "a-2")),
            Ok(())
        );
    }

    #[test]
    fn a_new_leader_knows_what_the_last_one_did() {
        let mut recent = Recent::default();
        recent.restart(vec![
            click(9, "web", Control::ScaleUp, "a-2"),
            click(0, "web", Control::ScaleUp, "a-1"),
        ]);
        let again = recent.take(click(10, "web", Control::ScaleUp, "a-3"));
        assert_eq!(again.unwrap_err().action, "a-2");
    }

    #[test]
    fn it_remembers_so_many() {
        let mut recent = Recent::default();
        for n in 0..=REMEMBERED {
            let click = click(0, &n.to_string(), Control::ScaleUp, &n.to_string());
            recent.take(click).unwrap();
        }
        assert_eq!(recent.0.len(), REMEMBERED);
    }
}
