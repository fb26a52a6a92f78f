//! The driver and a pretended QEMU that outlives it: this program is cut short at every word that it says, and its next
//! life goes on from what there is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};

use awan_model::id::InterfaceId;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const PORTS: [&str; 2] = ["np0", "np1"];

fn mac(n: u8) -> Mac {
    Mac([10, 0, 0, 0, 0, n])
}

fn id() -> InstanceId {
    InstanceId::made("i-00000000000000001".into())
}

/// What a QEMU has, by its own names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Machine {
    /// Address, tap and bus of each network device.
    devices: BTreeMap<String, [String; 3]>,
    netdevs: BTreeSet<String>,
    /// Descriptors that nothing uses yet.
    given: BTreeSet<String>,
}

impl Machine {
    fn with(numbers: &[u8]) -> Self {
        let mut machine = Self::default();
        for (n, bus) in numbers.iter().zip(["pcie.0", "np0", "np1"]) {
            let (device, netdev) = (args::card_name(mac(*n)), args::netdev(mac(*n)));
            machine.netdevs.insert(netdev.clone());
            machine.devices.insert(device, [mac(*n).to_string(), netdev, bus.to_owned()]);
        }
        machine
    }

    fn obey(&mut self, command: &str, asked: &Value) -> Result<Value, String> {
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        let known = |there: bool, what: &str| if there { Ok(json!({})) } else { Err(format!("'{what}' not found")) };
        match command {
            "query-status" => Ok(json!({"status": "running"})),
            "qom-list" => {
                let ports = PORTS.iter().map(|name| json!({"name": name, "type": "child<pcie-root-port>"}));
                let cards = self.devices.keys().map(|name| json!({"name": name, "type": "child<virtio-net-pci>"}));
                Ok(ports.chain(cards).collect())
            }
            "qom-get" => {
                let path = text("path");
                let device = self.devices.get(path.rsplit('/').next().unwrap_or_default());
                let [mac, netdev, bus] = device.ok_or_else(|| format!("Device '{path}' not found"))?;
                match asked["property"].as_str() {
                    Some("mac") => Ok(json!(mac)),
                    Some("netdev") => Ok(json!(netdev)),
                    _ => Ok(json!(format!("/machine/somewhere/{bus}"))),
                }
            }
            "getfd" => {
                self.given.insert(text("fdname"));
                Ok(json!({}))
            }
            "closefd" => known(self.given.remove(&text("fdname")), "fd"),
            "netdev_add" if !self.given.remove(&text("fd")) => Err("no such descriptor".into()),
            "netdev_add" if !self.netdevs.insert(text("id")) => Err("duplicate".into()),
            "netdev_del" => known(self.netdevs.remove(&text("id")), "netdev"),
            "device_add" => {
                let card = ["mac", "netdev", "bus"].map(text);
                let busy = self.devices.values().any(|[_, _, bus]| *bus == card[2]);
                if busy || !self.netdevs.contains(&card[1]) || self.devices.contains_key(&text("id")) {
                    return Err("cannot be added".into());
                }
                self.devices.insert(text("id"), card);
                Ok(json!({}))
            }
            "device_del" => known(self.devices.contains_key(&text("id")), "device"),
            _ => Ok(json!({})),
        }
    }
}

/// Where this program is cut short.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// So many commands are answered before.
    after: usize,
    /// The next one is done all the same.
    done: bool,
}

#[derive(Default)]
struct Fake {
    machine: Machine,
    /// The guest lets go of what it is asked for.
    lets_go: bool,
    cut: Option<Cut>,
    silent: bool,
}

type Shown = Arc<Mutex<Fake>>;

fn serve(fake: &Shown, stream: &UnixStream) -> Option<()> {
    let mut said = BufReader::new(stream);
    let say = |line: Value| writeln!(&*stream, "{line}").ok();
    say(json!({"QMP": {}}))?;
    loop {
        let mut line = String::new();
        if said.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let asked: Value = serde_json::from_str(&line).ok()?;
        let (command, about) = (asked["execute"].as_str()?, &asked["arguments"]);
        let mut fake = fake.lock().ok()?;
        if let Some(cut) = &mut fake.cut {
            match cut.after.checked_sub(1) {
                Some(left) => cut.after = left,
                None => {
                    let done = cut.done;
                    fake.silent = true;
                    if done && !(command == "device_del" && fake.lets_go) {
                        let _ = fake.machine.obey(command, about);
                    }
                    if done && command == "device_del" && fake.lets_go {
                        fake.machine.devices.remove(about["id"].as_str()?);
                    }
                    continue;
                }
            }
        }
        let answer = fake.machine.obey(command, about);
        let deleted = command == "device_del" && answer.is_ok() && fake.lets_go;
        match answer {
            Ok(value) => say(json!({"return": value, "id": asked["id"]}))?,
            Err(why) => say(json!({"error": {"desc": why}, "id": asked["id"]}))?,
        }
        if deleted {
            fake.machine.devices.remove(about["id"].as_str()?);
            say(json!({"event": "DEVICE_DELETED", "data": {"device": about["id"]}}))?;
        }
    }
}

/// A driver over a pretended machine, and the process that is taken for it.
struct Bench {
    folder: tempfile::TempDir,
    process: Child,
    fake: Shown,
    life: Option<(Runtime, Arc<QemuHypervisor>)>,
}

impl Bench {
    /// A machine with these interfaces, of which a record knows as many as it says.
    fn new(there: &[u8], noted: Option<&[u8]>, lets_go: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Command::new("sleep").arg("600").spawn().expect("starts");
        let seen = |n: &u8| InterfaceSeen { mac: mac(*n), attached: true };
        let record = Record {
            process: Process::of(i32::try_from(process.id()).expect("a number")),
            begun: true,
            interfaces: noted.map(|noted| noted.iter().map(seen).collect()),
            ..Record::blank(id(), 1, 1_900_000_000)
        };
        Records::open(folder.path().join("vms")).and_then(|records| records.write(&record)).expect("writes");
        let place = folder.path().join("vm").join(id().as_str());
        std::fs::create_dir_all(&place).expect("makes");
        let listener = UnixListener::bind(place.join(launch::QMP_SOCKET)).expect("listens");
        let fake: Shown = Arc::new(Mutex::new(Fake { machine: Machine::with(there), lets_go, ..Fake::default() }));
        let shown = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(&shown, &stream);
            }
        });
        let mut bench = Self { folder, process, fake, life: None };
        bench.open();
        bench
    }

    fn fake(&self) -> MutexGuard<'_, Fake> {
        self.fake.lock().expect("unharmed")
    }

    fn open(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let (runtime, folder) = (runtime.expect("a runtime"), Path::new(self.folder.path()));
        let config = QemuConfig {
            run_dir: folder.into(),
            data_dir: folder.into(),
            images: folder.into(),
            tag: "fake00".into(),
            users: Some(1_900_000_000..1_900_010_000),
            accelerator: Accelerator { name: "tcg", cpu: "max", note: String::new() },
            grace: PATIENCE,
        };
        let driver = runtime.block_on(async { QemuHypervisor::open(config) }).expect("opens");
        self.life = Some((runtime, driver));
        // What it can be told before QEMU listens is refused, and nothing is done.
        self.until(|bench| !matches!(bench.order(&Order::Listens), Err(why) if why.contains("listen")));
    }

    /// All tasks vanish where they stand.
    fn die(&mut self) {
        if let Some((runtime, driver)) = self.life.take() {
            driver.groups.purge();
            drop(driver);
            runtime.shutdown_timeout(PATIENCE);
        }
    }

    fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let began = std::time::Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain");
            let (runtime, _) = self.life.as_ref().expect("lives");
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        }
    }

    /// Gives an order, and waits until it is done or this program is cut short. True: done.
    fn order(&self, order: &Order) -> Result<bool, String> {
        let (runtime, driver) = self.life.as_ref().expect("lives");
        let (driver, order, fake) = (driver.clone(), *order, self.fake.clone());
        let doing = async move {
            match order {
                Order::Plug(n) => {
                    let fd = std::fs::File::open("/dev/null")?.into();
                    let interface = InterfaceId::made("eni-00000000000000001".into());
                    driver.plug(&id(), Tap { interface, mac: mac(n), fd }).await
                }
                Order::Unplug(n, force) => driver.unplug(&id(), mac(n), force).await,
                Order::Listens => driver.grow(&id(), &VolumeId::made("vol-00000000000000009".into()), 1).await,
            }
        };
        let silent = async {
            while !fake.lock().expect("unharmed").silent {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                done = doing => done.map(|()| true).map_err(|e| format!("{e:#}")),
                () = silent => Ok(false),
            }
        })
    }

    /// The last numbers of the interfaces that it reports, with whether the guest has them; and how many places are free.
    fn seen(&self) -> (Option<Vec<(u8, bool)>>, u32) {
        let (runtime, driver) = self.life.as_ref().expect("lives");
        let seen = runtime.block_on(driver.observe()).expect("observes").remove(0);
        let short = |all: Vec<InterfaceSeen>| all.iter().map(|seen| (seen.mac.0[5], seen.attached)).collect();
        (seen.interfaces.map(short), seen.free_interface_ports)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.die();
        self.process.kill().and_then(|()| self.process.wait()).expect("ends");
    }
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Plug(u8),
    Unplug(u8, bool),
    /// Only asks whether orders are heard.
    Listens,
}

/// Cuts this program short at each word of an order in turn, and lets its next life do what is left. Answers with the
/// number of words.
fn cut_short(order: Order, before: &[u8], lets_go: bool, after: &Machine, seen: &[u8], free: u32) -> usize {
    for words in 0.. {
        for done in [false, true] {
            let mut bench = Bench::new(before, Some(before), lets_go);
            bench.fake().cut = Some(Cut { after: words, done });
            let whole = bench.order(&order).expect("nothing fails");
            bench.die();
            (bench.fake().cut, bench.fake().silent) = (None, false);
            bench.open();
            // Until it is told anew, it has what QEMU has, and does not say that anything has gone that has not.
            let told = bench.seen().0.expect("are known");
            let has = |n: u8| bench.fake().machine.devices.contains_key(&args::card_name(mac(n)));
            assert!(told.iter().all(|(n, attached)| *attached && has(*n)), "{order:?} {words} {done}: {told:?}");
            let netdevs = bench.fake().machine.netdevs.clone();
            let gone = before.iter().filter(|n| told.iter().all(|(told, _)| told != *n));
            assert!(gone.clone().all(|n| !netdevs.contains(&args::netdev(mac(*n)))), "{order:?} {words} {done}");
            let again = match order {
                Order::Plug(n) => !told.contains(&(n, true)),
                Order::Unplug(n, _) => told.contains(&(n, true)),
                Order::Listens => false,
            };
            if again {
                bench.order(&order).expect("is done now");
            }
            assert_eq!(bench.fake().machine, *after, "{order:?} {words} {done}");
            let seen: Vec<_> = seen.iter().map(|n| (*n, true)).collect();
            assert_eq!(bench.seen(), (Some(seen), free), "{order:?} {words} {done}");
            if whole {
                return words;
            }
        }
    }
    0
}

#[test]
fn an_interface_comes_once_wherever_its_coming_is_cut_short() {
    let words = cut_short(Order::Plug(2), &[1], true, &Machine::with(&[1, 2]), &[1, 2], 1);
    assert!(words > 5, "{words}");
}

#[test]
fn an_interface_goes_wherever_its_going_is_cut_short() {
    let words = cut_short(Order::Unplug(2, false), &[1, 2], true, &Machine::with(&[1]), &[1], 2);
    assert!(words > 5, "{words}");
}

#[test]
fn an_interface_is_pulled_from_a_guest_that_holds_on_to_it_wherever_that_is_cut_short() {
    let mut after = Machine::with(&[1, 2]);
    after.netdevs.remove(&args::netdev(mac(2)));
    let words = cut_short(Order::Unplug(2, true), &[1, 2], false, &after, &[1], 1);
    assert!(words > 5, "{words}");
}

#[test]
fn what_a_guest_holds_on_to_is_its_until_it_lets_go() {
    let bench = Bench::new(&[1, 2], Some(&[1, 2]), false);
    let refused = bench.order(&Order::Unplug(2, false)).expect_err("the guest does not let go");
    assert!(refused.contains("has not let go"), "{refused}");
    assert_eq!(bench.seen(), (Some(vec![(1, true), (2, false)]), 1));
    bench.order(&Order::Unplug(2, true)).expect("without asking");
    let refused = bench.order(&Order::Plug(2)).expect_err("the guest still has it");
    assert!(refused.contains("has not let go"), "{refused}");
    assert_eq!(bench.seen(), (Some(vec![(1, true)]), 1));
    bench.fake().lets_go = true;
    bench.order(&Order::Unplug(2, false)).expect("now it does");
    assert_eq!(bench.seen(), (Some(vec![(1, true)]), 2));
    bench.order(&Order::Plug(2)).expect("comes back");
    assert_eq!(bench.fake().machine, Machine::with(&[1, 2]));
}

#[test]
fn what_no_record_knows_is_found_by_looking() {
    let bench = Bench::new(&[1, 2], None, true);
    assert_eq!(bench.seen(), (Some(vec![(1, true), (2, true)]), 1));
    bench.order(&Order::Plug(3)).expect("comes");
    let refused = bench.order(&Order::Plug(4)).expect_err("there is no place");
    assert!(refused.contains("no place"), "{refused}");
    assert_eq!(bench.fake().machine, Machine::with(&[1, 2, 3]), "nothing is left of the attempt");
    assert_eq!(bench.seen(), (Some(vec![(1, true), (2, true), (3, true)]), 0));
}
