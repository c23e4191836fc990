//! A pod with a network of its own, and packets.

use super::{RECEIVED, SENT};
use crate::agent::Report;
use crate::measure::{near, network_bytes, rates, until_it_holds};
use crate::network;
use crate::pod::{Driver, Pod, Process};
use crate::workload::{Network, PACKET, PACKETS, Start};

pub(super) struct Linked {
    pod: Pod,
    sandbox: Process,
    _sending: Process,
}

impl Linked {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Linked> {
        let pod = Pod::new(driver, number)?;
        let pause = pod.container(0)?;
        let start = Start {
            network: Network::New,
            ..Start::default()
        };
        let sandbox = pause.start(&start, &["rest"])?;
        network::link(&pause, sandbox.pid())?;
        let sender = pod.container(1)?;
        let start = Start {
            network: Network::Of(sandbox.pid()),
            ..Start::default()
        };
        let to = format!("{}:9", network::HOST);
        Ok(Linked {
            _sending: sender.start(&start, &["send", &to])?,
            pod,
            sandbox,
        })
    }

    pub(super) fn check(
        &self,
        report: &mut impl FnMut() -> anyhow::Result<Report>,
    ) -> anyhow::Result<()> {
        until_it_holds(|| {
            let bytes = || network_bytes(self.sandbox.pid(), network::POD_INTERFACE);
            let ([received, sent], report) = rates(bytes, report)?;
            let data = f64::from(PACKETS) * PACKET as f64;
            near(
                "the kernel's own count of bytes sent",
                sent,
                data,
                data * 0.6,
            )?;
            for (metric, expected) in [(RECEIVED, received), (SENT, sent)] {
                let value = report.metric("Pod", &self.pod.node_id(), metric)?;
                // A packet more or less at either end.
                near(metric, value, expected, expected * 0.25 + PACKET as f64)?;
            }
            Ok(())
        })
    }
}
