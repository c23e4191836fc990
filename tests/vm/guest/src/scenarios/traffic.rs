//! The traffic of a pod shaped by clicks, on a kernel that has `sch_netem`, with what comes of it measured.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::step;
use crate::agent::Agent;
use crate::api_server::ApiServer;
use crate::measure::{near, until_it_holds};
use crate::network::{self, POD, POD_INTERFACE};
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::{ECHO_PORT, Network, SEND_PORT, SENT_BYTES, Start};

/// Nothing answers so late, whatever the machine around the guest does.
const LOST: Duration = Duration::from_secs(5);
/// What an emulated machine may take for a packet, besides its delay.
const SLACK: Duration = Duration::from_millis(150);

struct World {
    web: Container,
    inside: Start,
    agent: Agent,
    _processes: [Process; 2],
    _server: ApiServer,
}

pub(super) fn play() -> anyhow::Result<()> {
    step("a pod that answers, on a network of its own, and an agent");
    let world = World::start()?;
    let none = world.round_trips(20)?;
    let usual = median(&none);
    step(&format!("without anything: {usual:?}"));
    ensure!(usual < SLACK, "a packet takes {usual:?} by itself");

    world.delay()?;
    world.jitter()?;
    world.loss()?;
    world.rate("tbf", &[("rate", "2mbit"), ("delay", "0"), ("loss", "0")])?;
    world.rate("netem", &[("rate", "2mbit"), ("delay", "10ms")])?;
    world.presets()?;
    world.ends()
}

impl World {
    fn start() -> anyhow::Result<World> {
        let pod = Pod::new(Driver::Systemd, 1)?;
        let pause = pod.container(0)?;
        let new = Start {
            network: Network::New,
            ..Start::default()
        };
        let sandbox = pause.start(&new, &["rest"])?;
        network::link(&pause, sandbox.pid())?;
        let web = pod.container(1)?;
        let inside = Start {
            network: Network::Of(sandbox.pid()),
            ..Start::default()
        };
        let answering = web.start(&inside, &["answer"])?;
        network::start_loopback()?;
        let home = Pod::new(Driver::Systemd, 2)?;
        let own = home.container(1)?;
        let server = ApiServer::start(vec![pod.object(&[&web]), home.object(&[&own])])?;
        let (collectors, controls) = ("Resources,TrafficControl", "ShapeTraffic");
        let agent = Agent::serve_cluster(&own, &Start::default(), collectors, controls)?;
        Ok(World {
            web,
            inside,
            agent,
            _processes: [sandbox, answering],
            _server: server,
        })
    }

    /// A click that has to succeed. The first one comes before the agent knows the pod.
    fn click(&self, button: &str, args: &[(&str, &str)]) -> anyhow::Result<()> {
        let control = format!("traffic-control-table-{button}");
        let args: BTreeMap<&str, &str> = args.iter().copied().collect();
        until_it_holds(|| {
            let answer: Value = self
                .agent
                .click_with(&self.web.node_id(), &control, &args)?;
            ensure!(
                answer["value"]["phase"] == "Succeeded",
                "{control} {args:?}: {answer}"
            );
            Ok(())
        })
    }

    /// What an independent program says of the pod's device.
    fn tc(&self) -> anyhow::Result<String> {
        let role = [
            "exec",
            "/sbin/tc",
            "qdisc",
            "show",
            "dev",
            POD_INTERFACE,
            "root",
        ];
        let output = self.web.command(&self.inside, &role).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn tc_says(&self, words: &[&str]) -> anyhow::Result<()> {
        let said = self.tc()?;
        println!("tc: {said}");
        ensure!(
            words.iter().all(|word| said.contains(word)),
            "{said} lacks one of {words:?}"
        );
        Ok(())
    }

    /// What Scope shows.
    fn table_says(&self, rows: &[(&str, &str)]) -> anyhow::Result<()> {
        until_it_holds(|| {
            let report = self.agent.report()?;
            for (row, expected) in rows {
                let key = format!("traffic-control-table-{row}");
                let value = report.latest("Container", &self.web.node_id(), &key)?;
                ensure!(value == *expected, "{row} is {value}, not {expected}");
            }
            Ok(())
        })
    }

    /// So many packets to the pod and back, one after the other, without those that got lost.
    fn round_trips(&self, count: u32) -> anyhow::Result<Vec<Duration>> {
        let socket = self.socket(LOST)?;
        let mut times = Vec::new();
        for number in 0..count {
            let began = Instant::now();
            socket.send(&number.to_be_bytes())?;
            let mut answer = [0; 4];
            while let Ok(4) = socket.recv(&mut answer) {
                if answer == number.to_be_bytes() {
                    times.push(began.elapsed());
                    break;
                }
            }
        }
        ensure!(!times.is_empty(), "nothing came back");
        times.sort();
        println!("round trips: {times:?}");
        Ok(times)
    }

    fn socket(&self, patience: Duration) -> anyhow::Result<UdpSocket> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
        socket
            .connect((POD, ECHO_PORT))
            .context("cannot reach the pod")?;
        socket.set_read_timeout(Some(patience))?;
        Ok(socket)
    }

    fn delay(&self) -> anyhow::Result<()> {
        self.click("set", &[("delay", "200ms")])?;
        self.tc_says(&["netem 5", "delay 200ms"])?;
        let times = self.round_trips(20)?;
        let wait = Duration::from_millis(200);
        step(&format!(
            "delay 200ms: {:?} to {:?}",
            times[0],
            times[times.len() - 1]
        ));
        ensure!(
            times.len() == 20 && times[0] >= wait,
            "faster than the delay, or lost"
        );
        ensure!(median(&times) < wait + SLACK, "{:?}", median(&times));
        self.table_says(&[("latency", "200ms"), ("pktloss", "-"), ("note", "-")])
    }

    fn jitter(&self) -> anyhow::Result<()> {
        self.click("set", &[("jitter", "150ms")])?;
        self.tc_says(&["netem 5", "delay 200ms", "150ms"])?;
        let times = self.round_trips(40)?;
        let (first, last) = (times[0], times[times.len() - 1]);
        step(&format!("delay 200ms, jitter 150ms: {first:?} to {last:?}"));
        ensure!(first >= Duration::from_millis(50), "{first:?}");
        // Of forty, spread evenly over 300 ms.
        ensure!(
            first < Duration::from_millis(150),
            "no packet was early: {first:?}"
        );
        ensure!(
            last > Duration::from_millis(270),
            "no packet was late: {last:?}"
        );
        self.table_says(&[("latency", "200ms"), ("jitter", "150ms")])
    }

    fn loss(&self) -> anyhow::Result<()> {
        self.click("set", &[("delay", "0"), ("loss", "30%")])?;
        self.tc_says(&["netem 5", "loss 30%"])?;
        const SENT: u32 = 500;
        let socket = self.socket(Duration::from_secs(2))?;
        // Taken out as they come: a socket that nobody reads holds fewer than that.
        let answers = socket.try_clone()?;
        let counting = std::thread::spawn(move || {
            let came = std::iter::from_fn(|| answers.recv(&mut [0; 4]).ok());
            u32::try_from(came.count()).unwrap_or(u32::MAX)
        });
        for number in 0..SENT {
            socket.send(&number.to_be_bytes())?;
            std::thread::sleep(Duration::from_millis(2));
        }
        let came = counting
            .join()
            .map_err(|_| anyhow::anyhow!("the count broke off"))?;
        let came = f64::from(came);
        let share = came / f64::from(SENT);
        step(&format!("loss 30%: {:.1} % came back", share * 100.0));
        // Six standard deviations.
        near("the share that came back", share, 0.7, 0.125)?;
        self.table_says(&[("latency", "-"), ("pktloss", "30%"), ("jitter", "-")])
    }

    fn rate(&self, kind: &str, args: &[(&str, &str)]) -> anyhow::Result<()> {
        self.click("set", args)?;
        self.tc_says(&[&format!("{kind} 5"), "rate 2Mbit"])?;
        let began = Instant::now();
        let mut stream = TcpStream::connect((POD, SEND_PORT)).context("cannot reach the pod")?;
        stream.set_read_timeout(Some(LOST))?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        ensure!(got.len() == SENT_BYTES, "{} bytes came", got.len());
        let mbit = SENT_BYTES as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64();
        step(&format!("rate 2mbit by {kind}: {mbit:.2} Mbit/s"));
        // Without the headers, and with the burst that `tbf` lets through at once.
        near("Mbit/s", mbit, 1.95, 0.35)?;
        self.table_says(&[("rate", "2mbit")])
    }

    fn presets(&self) -> anyhow::Result<()> {
        self.click("clear", &[])?;
        self.click("slow", &[])?;
        self.click("pkt-drop-low", &[])?;
        self.tc_says(&["netem 5", "delay 2s", "loss 10%"])?;
        let times = self.round_trips(3)?;
        step(&format!("slow, and packet drop low: {times:?}"));
        ensure!(times[0] >= Duration::from_secs(2), "{times:?}");
        self.table_says(&[("latency", "2000ms"), ("pktloss", "10%")])?;
        self.click("clear", &[])?;
        self.table_says(&[("latency", "-"), ("pktloss", "-"), ("until", "-")])?;
        self.clear()
    }

    /// Nothing is left, not even an empty qdisc of ours.
    fn clear(&self) -> anyhow::Result<()> {
        let said = self.tc()?;
        ensure!(
            said.contains("noqueue") && !said.contains("netem") && !said.contains("tbf"),
            "{said}"
        );
        let usual = median(&self.round_trips(20)?);
        ensure!(usual < SLACK, "a packet takes {usual:?} afterwards");
        Ok(())
    }

    fn ends(&self) -> anyhow::Result<()> {
        self.click("fast", &[("duration", "2s")])?;
        self.tc_says(&["netem 5", "delay 500ms"])?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.tc()?.contains("netem") {
            ensure!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(100));
        }
        step("it ended by itself");
        self.clear()
    }
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}
