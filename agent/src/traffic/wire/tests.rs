use proptest::prelude::*;

use super::*;

fn ours() -> Handle {
    Handle::of_plugin("node-metrics")
}

/// Word by word, by `linux/netlink.h`, `linux/rtnetlink.h` and `linux/pkt_sched.h`.
#[test]
fn a_request_is_laid_out_as_the_kernel_reads_it() {
    let setting = Setting {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss: Loss::from_milli_percent(10_000),
        rate: Rate::from_bits(8_000_000),
    };
    let bytes = create(7, 3, ours(), &setting);
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes(*word.first_chunk().expect("four")))
        .collect();
    let pair = |low: u16, high: u16| {
        let [a, b] = low.to_ne_bytes();
        let [c, d] = high.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    };
    assert_eq!(words[0] as usize, bytes.len());
    assert_eq!(
        words[1],
        pair(36, 0x1 | 0x4 | 0x400),
        "NEWQDISC, CREATE, no REPLACE"
    );
    assert_eq!(&words[2..9], &[7, 0, 0, 3, ours().number(), u32::MAX, 0]);
    assert_eq!(words[9], pair(4 + 6, 1));
    assert_eq!(&bytes[40..46], b"netem\0");
    assert_eq!(words[12] & 0xFFFF, (bytes.len() - 48) as u32);
    // 20 ms and 5 ms in ticks of 64 ns, 10 % of 2^32.
    assert_eq!(
        &words[13..19],
        &[312_500, 1000 + 25, 429_496_729, 0, 0, 78_125]
    );
    assert_eq!(&words[19..22], &[pair(12, 10), 20_000_000, 0]);
    assert_eq!(&words[22..25], &[pair(12, 11), 5_000_000, 0]);
    assert_eq!(&words[25..], &[pair(20, 6), 1_000_000, 0, 0, 0]);
}

#[test]
fn a_rate_alone_is_a_bucket_of_tokens() {
    let slow = Setting {
        rate: Rate::from_bits(8_000),
        ..Setting::default()
    };
    for (setting, burst, limit) in [
        (slow, 32 * 1024, 32 * 1024 + 50),
        (
            Setting {
                rate: Rate::from_bits(8_000_000_000),
                ..slow
            },
            4_000_000,
            54_000_000,
        ),
    ] {
        let options = tbf(setting.rate);
        let parms = find(&options, TBF_PARMS).expect("parms");
        assert_eq!(parms.len(), TBF_QOPT);
        assert_eq!(parms[1], 1, "Ethernet");
        assert_eq!(u32_at(parms, 24), Some(limit));
        let said = find(&options, TBF_BURST).and_then(|value| u32_at(value, 0));
        assert_eq!(said, Some(burst));
        assert_eq!(read_tbf(&options), Some(setting));
    }
}

#[test]
fn deletes_nothing_but_ours() {
    let bytes = delete(9, 2, ours());
    assert_eq!(u16_at(&bytes, 4), Some(37));
    assert_eq!(u32_at(&bytes, 24), Some(ours().number()));
    assert_eq!(u32_at(&bytes, 28), Some(ROOT));
}

#[test]
fn no_wait_makes_more_packets_wait_than_are_allowed() {
    let of = |delay: u64, rate| {
        packets(&Setting {
            delay: Duration::from_millis(delay),
            rate,
            ..Setting::default()
        })
    };
    assert_eq!(of(0, Rate(0)), 1000);
    assert_eq!(of(2000, Rate(0)), 33_000);
    assert_eq!(of(2000, Rate::from_bits(8_000_000)), 3000);
    assert_eq!(of(10_000, Rate::from_bits(100_000_000_000)), 50_000);
}

fn header(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, ((HEADER + body.len()) as u32).to_ne_bytes());
    put(&mut bytes, kind.to_ne_bytes());
    put(&mut bytes, 0u16.to_ne_bytes());
    put(&mut bytes, sequence.to_ne_bytes());
    put(&mut bytes, 0u32.to_ne_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn answers_of_others_are_passed_over() {
    let mut bytes = header(ERROR, 1, &(-17i32).to_ne_bytes());
    bytes.extend(header(ERROR, 2, &0i32.to_ne_bytes()));
    bytes.extend(header(DONE, 1, &0i32.to_ne_bytes()));
    bytes.extend(header(99, 1, b"what is"));
    bytes.extend(header(ERROR, 1, b"")); // Too short to say anything, and unpadded before.
    assert_eq!(
        answers(&bytes, 1)[..3],
        [Answer::Ack(17), Answer::Done, Answer::Other]
    );
    assert_eq!(answers(&bytes[..15], 1), []);
    assert_eq!(
        answers(&header(ERROR, 1, &i32::MIN.to_ne_bytes()), 1),
        [Answer::Ack(i32::MAX)]
    );
}

#[test]
fn an_attribute_of_no_length_ends_a_list() {
    assert_eq!(find(&[0, 0, 1, 0, 9, 9, 9, 9], 1), None);
    assert_eq!(find(&[3, 0, 1, 0], 1), None);
    assert_eq!(find(&[200, 0, 1, 0, 1], 1), None);
}

prop_compose! {
    fn settings()(
        delay in 0u64..=10_000_000,
        jitter in 0u64..=10_000_000,
        loss in any::<u32>(),
        rate in prop_oneof![Just(0), 1u64..=100_000_000_000, Just(u64::from(u32::MAX))],
    ) -> Setting {
        Setting {
            delay: Duration::from_micros(delay),
            jitter: Duration::from_micros(jitter),
            loss: Loss(loss),
            rate: Rate(rate),
        }
    }
}

proptest! {
    #[test]
    fn what_is_sent_is_what_would_be_read_back(setting in settings(), device in any::<u32>()) {
        let mut bytes = create(1, device, ours(), &setting);
        // A request and an entry of a list have the same body.
        bytes[4..6].copy_from_slice(&NEWQDISC.to_ne_bytes());
        let read = answers(&bytes, 1);
        prop_assert_eq!(read, [Answer::Qdisc(Qdisc {
            device,
            handle: ours().number(),
            root: true,
            kind: Kind::of(&setting).as_str().to_owned(),
            setting: Some(setting),
        })]);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), sequence in 0u32..3) {
        answers(&bytes, sequence);
        // Behind a sound beginning, too.
        let message = header(NEWQDISC, 1, &bytes);
        prop_assert!(answers(&message, 1).len() <= 1);
    }
}
