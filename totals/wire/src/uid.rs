//! UIDs of Kubernetes objects, which are UUIDs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The UID of an object, as 16 bytes: there are many of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

/// The text is no UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UID has 36 characters, such as 0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f")]
pub struct NotAUid;

/// Where the dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Uid {
    type Err = NotAUid;

    fn from_str(text: &str) -> Result<Self, NotAUid> {
        let text: &[u8; 36] = text.as_bytes().try_into().map_err(|_| NotAUid)?;
        let mut digits = 0;
        let mut bytes = [0; 16];
        for (place, byte) in text.iter().enumerate() {
            if DASHES.contains(&place) {
                if *byte != b'-' {
                    return Err(NotAUid);
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return Err(NotAUid),
            };
            // 32 digits besides the four dashes, so two for each byte.
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut place = 0;
        for byte in self.0 {
            if DASHES.contains(&place) {
                place += 1;
            }
            text[place] = DIGITS[usize::from(byte >> 4)];
            text[place + 1] = DIGITS[usize::from(byte & 15)];
            place += 2;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Uid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UID")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Uid, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: [u8; 16]) {
            let uid = Uid::from_bytes(bytes);
            let text = uid.to_string();
            prop_assert_eq!(text.parse(), Ok(uid));
            prop_assert_eq!(text.to_uppercase().parse(), Ok(uid));
        }

        #[test]
        fn any_text_is_a_uid_or_none(text in "[0-9a-g-]{34,38}") {
            if let Ok(uid) = text.parse::<Uid>() {
                prop_assert_eq!(uid.to_string(), text);
            }
        }
    }

    #[test]
    fn as_kubernetes_writes_it() {
        let text = "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f";
        assert_eq!(text.parse::<Uid>().unwrap().to_string(), text);
        for bad in [
            "",
            "0a1b2c3d00004000-8000-0a1b2c3d4e5f",
            "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5g",
            "0a1b2c3d-0000-4000-80000-a1b2c3d4e5f",
        ] {
            assert_eq!(bad.parse::<Uid>(), Err(NotAUid), "{bad}");
        }
    }
}
