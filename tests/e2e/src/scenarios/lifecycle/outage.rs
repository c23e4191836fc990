//! The API server is away, and nothing is lost.

use super::*;

/// With the API server away for 20 s reports go on; after it, new pods appear by themselves.
pub(in crate::scenarios) fn api_server_away(world: &mut World) -> anyhow::Result<()> {
    world.stop_api_server()?;
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        for node in world.nodes() {
            let report = world.hear(&node)?;
            report.must_be_accepted(&[PLUGIN, "node-metrics-controls"])?;
            ensure!(
                report.nodes("Pod").next().is_some(),
                "{node} forgot its pods"
            );
            if node == "node1" {
                // One every second, on a machine with much else to do a little later.
                let age = report.age().context("a sample")?;
                ensure!(
                    age < Duration::from_secs(5),
                    "{node}'s newest sample is {age:?} old"
                );
            }
        }
        std::thread::sleep(Duration::from_millis(1500));
    }
    world.start_api_server()?;
    world.kubectl.ok(&[
        "scale",
        "deployment/burner",
        "-n",
        "figures",
        "--replicas=2",
    ])?;
    // A regular stop of the API server takes its address out of its own Service; each kube-proxy comes
    // back to it at a pace of its own, and nothing on that node can reach it before.
    let service = world.kubectl.ok(&[
        "get",
        "service/kubernetes",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])?;
    for node in world.nodes() {
        await_some(
            &format!("the API server's Service on {node}"),
            Duration::from_secs(120),
            || Ok(world.connects(&node, &service, 443)),
        )?;
    }
    let reachable = Instant::now();
    // The longest wait of an agent's watch is 30 s, and of the kubelet's about as long.
    await_some("the new pod in a report", Duration::from_secs(90), || {
        let pods = crate::truth::pods(&world.kubectl)?;
        let burners: Vec<_> = pods
            .iter()
            .filter(|p| p.name.starts_with("burner-") && p.phase == "Running")
            .collect();
        if burners.len() != 2 {
            return Ok(Err(format!("{} burners", burners.len())));
        }
        for pod in burners {
            if world.hear(&pod.node)?.node("Pod", &pod.node_id()).is_none() {
                return Ok(Err(format!("{} is not reported", pod.name)));
            }
        }
        Ok(Ok(()))
    })?;
    eprintln!(
        "    all is right {:.1} s after the API server could be reached from both nodes",
        reachable.elapsed().as_secs_f64()
    );
    world.kubectl.ok(&[
        "scale",
        "deployment/burner",
        "-n",
        "figures",
        "--replicas=1",
    ])?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(90))?;
    await_operator(&world.kubectl, Duration::from_secs(90))
}
