//! What the exchange of totals costs an agent: one with `--totals-dir` and one without, on the same node at
//! the same time, so that whatever else the machine does is alike for both. Their difference counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;
use totals_bench::api::{self, kubeconfig, token};
use totals_bench::service::{self, Service, free_port};

use crate::asking::Asker;
use crate::gates;
use crate::mebibytes;
use crate::node::{CONTAINERS, Deployed, NODE, Node};
use crate::population::Population;
use crate::process::{Agent, Place, metric};

/// CPU that the exchange may cost, in ms a second.
const CPU: f64 = 1.0;
/// Memory, in MiB.
const MEMORY: f64 = 1.0;

/// Between the starts of two agents: they look at the node every second, and not at the same moment.
const APART: Duration = Duration::from_millis(500);
/// A probe asks so often; not in step with the agents, so that its requests meet every part of a tick.
const ASK: Duration = Duration::from_millis(1010);
/// Until all totals are there: the service is silent at first, and reports that take turns need theirs.
const WARM: Duration = Duration::from_secs(120);
/// Reports that are asked for before it is measured: rates come with the second, dear figures with the first
/// five, and the first turns with the eighth.
const FIRST: usize = 10;
/// Until agents that nobody asks rest: each by itself, and a minute later by the service's word.
const RESTS: Duration = Duration::from_secs(120);
/// How often it then looks at the node, in seconds.
const SLOW: f64 = 15.0;
/// How often the service asks for a report while nobody asks any agent, in seconds.
const EXCHANGE: f64 = 14.0;

/// The row of a controller that says of how many pods its total is.
const COUNTED: &str = "totals_pods_counted";
const SAMPLER: &str = "sampler";
const CADENCE: &str = "scope_agent_cadence_seconds";
const LOOKS: &str = "scope_agent_tick_seconds_count";
const INTERVAL: &str = "scope_agent_totals_interval_seconds";
const EXCHANGES: &str = "scope_agent_totals_exchanges_total{outcome=\"taken\"}";

/// What `exchange` is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// The agent's program, built for release
    #[arg(long)]
    program: PathBuf,
    /// The program of scope-totals, built for release
    #[arg(long)]
    totals_program: PathBuf,
    /// Idle processes
    #[arg(long, default_value_t = 2000)]
    processes: usize,
    /// Pods that they are in, two containers each
    #[arg(long, default_value_t = 110)]
    pods: usize,
    /// Pods of each Deployment, all on this node
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    replicas: usize,
    /// Rounds, each with two new agents
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    rounds: usize,
    /// Seconds of each round in which both are asked
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds of each round in which nobody asks
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Fail if a target is missed
    #[arg(long)]
    strict: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a number from 1 on".into()),
        Ok(number) => Ok(number),
    }
}

/// Measures both agents.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        processes, pods, ..
    } = *arguments;
    eprintln!("starting {processes} processes in {pods} pods …");
    let population = Population::start(processes, pods)?;
    let node = Arc::new(Node::new(&population, arguments.replicas));
    let api = api::serve(node.clone())?;
    let service = Service::start(&arguments.totals_program, api.address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let authorities = runtime.block_on(async {
        service.ready().await?;
        api.bundle().await
    })?;
    let directory = tempfile::tempdir()?;
    let stage = Stage {
        program: &arguments.program,
        kubeconfig: directory.path().join("kubeconfig"),
        volume: directory.path().join("totals"),
        population: &population,
        deployments: node.deployments(),
    };
    fs::write(&stage.kubeconfig, kubeconfig(api.address))?;
    publish(&stage.volume, service.exchange, &authorities)?;
    stage.come_first()?;

    let mut differences = Vec::new();
    for number in 1..=arguments.rounds {
        differences.push(stage.round(number, arguments)?);
    }
    let met = told("CPU while asked, ms a second", CPU, &differences, |d| {
        d.asked
    }) & told("CPU while not asked, ms a second", CPU, &differences, |d| {
        d.idle
    }) & told("resident memory, MiB", MEMORY, &differences, |d| d.resident)
        & told("charged memory, MiB", MEMORY, &differences, |d| d.charged);
    ensure!(met || !arguments.strict, "a target was missed");
    Ok(())
}

/// Lays out the volume as a kubelet does.
fn publish(volume: &Path, service: SocketAddr, authorities: &str) -> anyhow::Result<()> {
    let generation = "..2026_11_01";
    let directory = volume.join(generation);
    fs::create_dir_all(&directory)?;
    symlink(generation, volume.join("..data"))?;
    for (name, content) in [
        ("token", token(NODE)),
        ("ca.crt", authorities.to_owned()),
        ("address", service.to_string()),
        ("name", service::NAME.to_owned()),
    ] {
        fs::write(directory.join(name), content)?;
        symlink(Path::new("..data").join(name), volume.join(name))?;
    }
    Ok(())
}

/// Prints what the exchange costs. Whether that is within the target.
fn told(what: &str, target: f64, rounds: &[Difference], of: impl Fn(&Difference) -> f64) -> bool {
    let mut costs: Vec<f64> = rounds.iter().map(of).collect();
    costs.sort_by(f64::total_cmp);
    let median = costs[costs.len() / 2];
    let (least, most) = (costs[0], costs[costs.len() - 1]);
    println!("{what}: {median:+.2} ({least:+.2} to {most:+.2}; target {target:+.2})");
    median <= target
}

/// What the agent with totals takes more than the one without.
struct Difference {
    /// CPU, in ms a second.
    asked: f64,
    idle: f64,
    /// Memory, in MiB.
    resident: f64,
    charged: f64,
}

/// What is there before and after the agents.
struct Stage<'a> {
    program: &'a Path,
    kubeconfig: PathBuf,
    volume: PathBuf,
    population: &'a Population,
    /// By UID.
    deployments: BTreeMap<String, Deployed>,
}

impl Stage<'_> {
    /// Measures two new agents.
    fn round(&self, number: usize, arguments: &Arguments) -> anyhow::Result<Difference> {
        // Each is the first to start in turn.
        let (without, with);
        if number % 2 == 1 {
            without = self.start(None)?;
            sleep(APART);
            with = self.start(Some(&self.volume))?;
        } else {
            with = self.start(Some(&self.volume))?;
            sleep(APART);
            without = self.start(None)?;
        }
        let mut pair = Pair([without, with]);
        self.warm_up(&mut pair)?;
        println!("round {number}, without and with totals");

        let mut bodies = [Vec::new(), Vec::new()];
        let asked = pair.spends(|pair, began| {
            while began.elapsed() < Duration::from_secs(arguments.seconds) {
                sleep(ASK);
                for (bodies, one) in bodies.iter_mut().zip(&mut pair.0) {
                    bodies.push(one.asker.ask()?.0);
                }
            }
            Ok(())
        })?;
        println!("  asked       {asked}");
        let memory = pair.memory()?;
        self.check(&bodies)?;

        pair.rest()?;
        let idle = pair.spends(|_, _| {
            sleep(Duration::from_secs(arguments.idle_seconds));
            Ok(())
        })?;
        println!("  not asked   {idle}");
        for (one, memory) in ["without", "with"].iter().zip(&memory) {
            println!("  {one:<11} {memory}");
        }
        idle.check_pace()?;
        let [without, with] = memory;
        Ok(Difference {
            asked: asked.difference(),
            idle: idle.difference(),
            resident: with.resident - without.resident,
            charged: with.charged - without.charged,
        })
    }

    fn start(&self, totals: Option<&Path>) -> anyhow::Result<Contestant> {
        let health = free_port()?;
        let place = Place::Cluster {
            node: NODE,
            kubeconfig: &self.kubeconfig,
            totals,
            health,
        };
        let agent = Agent::start(self.program, place)?;
        Ok(Contestant {
            asker: Asker::connect(&agent.socket())?,
            agent,
            health,
        })
    }

    /// Whoever reads a file first is charged with what the kernel remembers of it: the program, and the whole
    /// of /proc and of the cgroups. That is to be neither of the two.
    fn come_first(&self) -> anyhow::Result<()> {
        let mut first = self.start(None)?;
        for _ in 0..FIRST {
            sleep(ASK);
            first.asker.ask()?;
        }
        Ok(())
    }

    /// Asks both until the one has all totals.
    fn warm_up(&self, pair: &mut Pair) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut asked = 0;
        // There is no Service.
        let all = self.deployments.len() + CONTAINERS.len();
        loop {
            sleep(ASK);
            for one in &mut pair.0 {
                one.asker.ask()?;
            }
            asked += 1;
            let held = metric(pair.0[1].health, "scope_agent_totals_held")?.unwrap_or_default();
            if asked >= FIRST && held as usize == all {
                return Ok(());
            }
            ensure!(
                began.elapsed() < WARM,
                "the agent has {held} totals of {all} after {} s",
                WARM.as_secs()
            );
        }
    }

    /// Correctness before cost: the one has told the total of each Deployment, which is known beforehand,
    /// and the other of none; of pods both tell what there is.
    fn check(&self, [without, with]: &[Vec<Vec<u8>>; 2]) -> anyhow::Result<()> {
        for body in [without, with]
            .into_iter()
            .filter_map(|bodies| bodies.last())
        {
            gates::check(body, self.population)?;
        }
        let told = |bodies: &[Vec<u8>]| -> anyhow::Result<BTreeSet<String>> {
            let mut told = BTreeSet::new();
            for body in bodies {
                let report: Value = serde_json::from_slice(body).context("the served body")?;
                for (uid, Deployed { pods, processes }) in &self.deployments {
                    let node = &report["Deployment"]["nodes"][format!("{uid};<deployment>")];
                    let Some(row) = node["latest"][COUNTED]["value"].as_str() else {
                        continue;
                    };
                    ensure!(
                        row == format!("{pods} of {pods}"),
                        "Deployment {uid} is told to have {row:?} pods, not {pods}"
                    );
                    let samples = node["metrics"]["processes"]["samples"].as_array();
                    let sample = samples.and_then(|samples| samples.last());
                    let value = sample.and_then(|sample| sample["value"].as_f64());
                    // Of one pod Scope takes it from the pod.
                    let right = (*pods > 1).then_some(*processes as f64);
                    ensure!(
                        value == right,
                        "Deployment {uid} is told to have {value:?} processes, not {right:?}"
                    );
                    told.insert(uid.clone());
                }
            }
            Ok(told)
        };
        let (none, all) = (told(without)?.len(), told(with)?.len());
        ensure!(none == 0, "the agent without totals tells {none}");
        ensure!(
            all == self.deployments.len(),
            "the totals of {all} Deployments of {} were told",
            self.deployments.len()
        );
        println!("gates: the totals of {all} Deployments are right");
        Ok(())
    }
}

struct Contestant {
    asker: Asker,
    agent: Agent,
    health: SocketAddr,
}

/// The agent without totals, and the one with.
struct Pair([Contestant; 2]);

impl Pair {
    /// Waits until both look at the node as seldom as they do when nobody asks, and the service asks as seldom.
    fn rest(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let [without, with] = &self.0;
        for (one, name, wanted) in [
            (without, CADENCE, SLOW),
            (with, CADENCE, SLOW),
            (with, INTERVAL, EXCHANGE),
        ] {
            while metric(one.health, name)? != Some(wanted) {
                ensure!(
                    began.elapsed() < RESTS,
                    "an agent that nobody asks does not rest: {name} is not {wanted}"
                );
                sleep(Duration::from_millis(200));
            }
        }
        Ok(())
    }

    /// What both spend during this.
    fn spends(
        &mut self,
        during: impl FnOnce(&mut Pair, Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<Spent> {
        // Whoever asks for the counts costs the agents something, which is none of it.
        let counted = self.counts()?;
        let spent = self.cpu()?;
        let began = Instant::now();
        during(self, began)?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = self.cpu()?;
        let now = self.counts()?;
        Ok(Spent {
            cpu: [0, 1]
                .map(|which| [0, 1].map(|part| (cpu[which][part] - spent[which][part]) / seconds)),
            looks: [0, 1].map(|which| now.looks[which] - counted.looks[which]),
            exchanges: now.exchanges - counted.exchanges,
            seconds,
        })
    }

    /// In ms, of the sampler and of all else.
    fn cpu(&self) -> anyhow::Result<[[f64; 2]; 2]> {
        let of = |one: &Contestant| -> anyhow::Result<[f64; 2]> {
            let mut spent = [0.0; 2];
            for (name, time) in one.agent.cpu_of_threads()? {
                spent[usize::from(name != SAMPLER)] += time.as_secs_f64() * 1e3;
            }
            Ok(spent)
        };
        Ok([of(&self.0[0])?, of(&self.0[1])?])
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        let [without, with] = &self.0;
        let looks = |one: &Contestant| {
            metric(one.health, LOOKS)?.context("the agent does not tell its looks")
        };
        Ok(Counts {
            looks: [looks(without)?, looks(with)?],
            exchanges: metric(with.health, EXCHANGES)?.unwrap_or_default(),
        })
    }

    fn memory(&self) -> anyhow::Result<[Memory; 2]> {
        let [without, with] = &self.0;
        Ok([Memory::of(&without.agent)?, Memory::of(&with.agent)?])
    }
}

/// What the agents have done so far.
struct Counts {
    looks: [f64; 2],
    exchanges: f64,
}

/// What both did in a time.
struct Spent {
    /// CPU in ms a second, of the sampler and of all else.
    cpu: [[f64; 2]; 2],
    looks: [f64; 2],
    exchanges: f64,
    seconds: f64,
}

impl Spent {
    fn difference(&self) -> f64 {
        let [without, with] = self.cpu.map(|parts| parts.iter().sum::<f64>());
        with - without
    }

    /// While nobody asks, the one looks every 15 s and the other a second sooner, when the exchange is due.
    fn check_pace(&self) -> anyhow::Result<()> {
        let [without, with] = self.looks;
        ensure!(
            without <= self.seconds / SLOW + 1.0,
            "the agent without totals looked {without} times"
        );
        let due = self.seconds / EXCHANGE;
        ensure!(
            self.exchanges >= due - 2.0,
            "{} exchanges of {due} took place",
            self.exchanges
        );
        ensure!(
            (self.exchanges - 1.0..=self.exchanges + 2.0).contains(&with),
            "the agent with totals looked {with} times for {} exchanges",
            self.exchanges
        );
        Ok(())
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [without, with] = self.cpu.map(|parts| parts.iter().sum::<f64>());
        let [sampler, rest] = [0, 1].map(|part| self.cpu[1][part] - self.cpu[0][part]);
        write!(
            f,
            "{without:.2} and {with:.2} ms a second: {:+.2}, of which the sampler {sampler:+.2} and all else \
             {rest:+.2}; {} and {} looks, {} exchanges in {:.0} s",
            self.difference(),
            self.looks[0],
            self.looks[1],
            self.exchanges,
            self.seconds,
        )
    }
}

/// In MiB.
struct Memory {
    resident: f64,
    highest: f64,
    charged: f64,
}

impl Memory {
    fn of(agent: &Agent) -> anyhow::Result<Memory> {
        let (resident, highest) = agent.resident()?;
        Ok(Memory {
            resident: mebibytes(resident),
            highest: mebibytes(highest),
            charged: mebibytes(agent.charged()?),
        })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Memory {
            resident,
            highest,
            charged,
        } = self;
        write!(
            f,
            "{resident:.2} MiB resident, {highest:.2} at most, {charged:.2} charged"
        )
    }
}
