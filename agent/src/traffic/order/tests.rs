use proptest::prelude::*;

use super::*;

const LONGEST: Duration = Duration::from_secs(1800);

fn read(button: Button, args: &[(&str, &str)]) -> Result<Order, String> {
    let args = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Order::read(button, &args, LONGEST).map_err(|e| e.to_string())
}

#[test]
fn the_presets_are_the_old_ones() {
    for (button, said) in [
        (Button::Slow, "delay 2000ms"),
        (Button::Medium, "delay 1000ms"),
        (Button::Fast, "delay 500ms"),
        (Button::PktDropLow, "loss 10%"),
    ] {
        let Ok(Order::Change(change, LONGEST)) = read(button, &[]) else {
            panic!("{button:?} is a change");
        };
        let setting = change.applied_to(Setting::default()).expect("fits");
        assert_eq!(setting.to_string(), said);
        assert!(button.needs_netem());
    }
    assert_eq!(read(Button::Clear, &[]), Ok(Order::Clear));
    assert!(!Button::Clear.needs_netem() && !Button::Set.needs_netem());
    for button in Button::ALL {
        assert!(button.id().starts_with(PREFIX));
    }
}

#[test]
fn presets_add_up() {
    let of = |button: Button, before| match read(button, &[]) {
        Ok(Order::Change(change, _)) => change.applied_to(before).expect("fits"),
        other => panic!("{other:?}"),
    };
    let lossy = of(Button::PktDropLow, Setting::default());
    assert_eq!(
        of(Button::Slow, lossy).to_string(),
        "delay 2000ms, loss 10%"
    );
    let jumpy = Setting {
        jitter: Duration::from_secs(1),
        ..of(Button::Slow, lossy)
    };
    assert_eq!(
        of(Button::Fast, jumpy).to_string(),
        "delay 500ms, jitter 500ms, loss 10%"
    );
}

#[test]
fn arguments_that_fit() {
    for (name, value, said) in [
        ("delay", "1ms", "delay 1ms"),
        ("delay", "10s", "delay 10000ms"),
        ("loss", "0.001%", "loss 0.001%"),
        ("loss", "12.5%", "loss 12.5%"),
        ("loss", "100%", "loss 100%"),
        ("rate", "8kbit", "rate 8kbit"),
        ("rate", "8Mbit", "rate 8mbit"),
        ("rate", "100gbit", "rate 100gbit"),
        ("rate", "0", "nothing"),
    ] {
        let order = read(Button::Set, &[(name, value), ("duration", "90s")]);
        let Ok(Order::Change(change, duration)) = order else {
            panic!("{name} {value}: {order:?}");
        };
        assert_eq!(duration, Duration::from_secs(90));
        let setting = change.applied_to(Setting::default()).expect("fits");
        assert_eq!(setting.to_string(), said, "{name} {value}");
    }
    assert!(read(Button::Slow, &[("duration", "1800s")]).is_ok());
}

#[test]
fn others_are_named_with_their_range() {
    for (name, values, range) in [
        (
            "delay",
            &[
                "", "10", "0ms0", "11s", "10001ms", "-1ms", "1.5s", "1 ms", "1h", "ms", "é",
            ][..],
            "from 1ms to 10s",
        ),
        ("jitter", &["1", "x"][..], "from 1ms to 10s"),
        (
            "loss",
            &[
                "", "10", "100.001%", "101%", "-1%", "1.0001%", "%", ".5%", "5.%", "1e1%", "١%",
            ][..],
            "from 0.001% to 100%",
        ),
        (
            "rate",
            &[
                "",
                "7kbit",
                "7999bit",
                "101gbit",
                "8",
                "8mb",
                "8 mbit",
                "99999999999gbit",
                "99999999999999999999bit",
            ][..],
            "from 8kbit to 100gbit",
        ),
        (
            "duration",
            &["", "0s", "31m", "1h", "5"][..],
            "from 1s to 1800s",
        ),
    ] {
        for value in values {
            let said = read(Button::Set, &[("rate", "1mbit"), (name, value)])
                .or_else(|said| {
                    if name == "rate" {
                        read(Button::Set, &[(name, value)])
                    } else {
                        Err(said)
                    }
                })
                .expect_err(value);
            assert!(
                said.contains(&format!("the argument {name} is "))
                    && said.contains(range)
                    && said.ends_with("Nothing was changed"),
                "{said}"
            );
        }
    }
    for (button, name, known) in [
        (Button::Slow, "delay", "it has duration."),
        (Button::Clear, "duration", "it has none."),
        (
            Button::Set,
            "lateny",
            "it has delay, jitter, loss, rate and duration.",
        ),
    ] {
        let said = read(button, &[(name, "1s")]).expect_err(name);
        assert!(
            said.contains(&format!("{} has no argument {name:?}", button.id()))
                && said.contains(known),
            "{said}"
        );
    }
    for args in [&[][..], &[("duration", "5s")][..]] {
        let said = read(Button::Set, args).expect_err("nothing");
        assert!(
            said.contains("changes nothing without an argument"),
            "{said}"
        );
    }
}

#[test]
fn no_packet_is_early() {
    let read = read(Button::Set, &[("jitter", "50ms")]);
    let Ok(Order::Change(change, _)) = read else {
        panic!("{read:?}");
    };
    let said = change
        .applied_to(Setting::default())
        .expect_err("early")
        .to_string();
    assert!(
        said.contains("the jitter would be 50ms and the delay 0ms"),
        "{said}"
    );
    let slow = Setting {
        delay: Duration::from_millis(50),
        ..Setting::default()
    };
    assert!(change.applied_to(slow).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_read_or_named(name in "[a-z]{0,9}|delay|jitter|loss|rate|duration", value in ".{0,30}") {
        for button in Button::ALL {
            match read(button, &[(&name, &value)]) {
                Ok(Order::Change(change, duration)) => {
                    prop_assert!((Duration::from_secs(1)..=LONGEST).contains(&duration));
                    prop_assert!(change.delay.is_none_or(|delay| delay <= MAX_DELAY));
                    prop_assert!(change.rate.is_none_or(|rate| rate <= MAX_RATE));
                }
                Ok(Order::Clear) => prop_assert_eq!(button, Button::Clear),
                Err(said) => prop_assert!(said.len() < 800, "{}", said),
            }
        }
    }

    #[test]
    fn what_is_said_can_be_typed(millis in 1u64..=10_000, share in 1u32..=100_000, kbit in 8u64..=100_000_000) {
        let (wait, loss, rate) = (
            Duration::from_millis(millis),
            Loss::from_milli_percent(share),
            Rate::from_bits(kbit * 1000),
        );
        let args = [("delay", time(wait)), ("loss", loss.to_string()), ("rate", rate.to_string())];
        let args: Vec<(&str, &str)> = args.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let change = Change { delay: Some(wait), jitter: None, loss: Some(loss), rate: Some(rate) };
        prop_assert_eq!(read(Button::Set, &args), Ok(Order::Change(change, LONGEST)));
    }
}
