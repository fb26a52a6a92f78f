//! What tenants ask, and whether what they are told holds: an acknowledged instance does not vanish, a retried request
//! makes nothing new, and nobody changes what another has.

use std::collections::BTreeMap;

use awan_control::Control;
use awan_control::dispatch::{Input, Service, dispatch};
use awan_model::account::root_arn;
use awan_model::address::Address;
use awan_model::group::SecurityGroup;
use awan_model::id::InstanceId;
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Home, Ref, System, Tenant};
use awan_wire::query::Params;

use crate::faults::Plant;
use crate::world::{REGION, World};

/// What tenants were told.
#[derive(Default)]
pub struct Told {
    /// Instances that were acknowledged; true: seen terminated since, so that it may vanish.
    instances: BTreeMap<InstanceId, (Home, bool)>,
    /// What each client token made.
    tokens: BTreeMap<(String, String), Vec<String>>,
    wrong: Option<String>,
}

impl Told {
    pub fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// What was told and must not have been.
    pub fn mistake(&mut self) -> Result<(), String> {
        self.wrong.take().map_or(Ok(()), Err)
    }

    /// What must hold after each change.
    pub fn check(&mut self, control: &Control) -> Result<(), String> {
        let lost = control.db.read(System, |tx| {
            self.instances.iter_mut().find_map(|(id, (home, ended))| {
                let at = Ref::<Instance>::new(home, id);
                match tx.find_at(&at) {
                    Some(instance) => {
                        let report = tx.find_at(&Ref::<VmReport>::new(home, id));
                        *ended = state(&instance, report.as_deref()) == State::Terminated;
                        None
                    }
                    None if *ended => None,
                    None => Some(format!("{id} was acknowledged and is gone")),
                }
            })
        });
        lost.map_or(Ok(()), Err)
    }

    fn launched(&mut self, home: &Home, token: Option<&str>, answer: &str) {
        let ids: Vec<_> = texts(answer, "instanceId");
        for id in ids.iter().filter_map(|id| id.parse().ok()) {
            self.instances.entry(id).or_insert((home.clone(), false));
        }
        let Some(token) = token else { return };
        let first = self.tokens.entry((home.account().to_owned(), token.to_owned())).or_insert_with(|| ids.clone());
        // A later answer may show fewer, as some have vanished; and when all have, the token is new again.
        let all_gone =
            first.iter().all(|id| id.parse().is_ok_and(|id| self.instances.get(&id).is_some_and(|(_, e)| *e)));
        if all_gone {
            *first = ids;
        } else if ids.iter().any(|id| !first.contains(id)) {
            self.wrong(format!("the token {token} made {ids:?}"));
        }
    }
}

fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
}

/// A request, and whose thing it names, if it names one.
struct Asked {
    name: &'static str,
    query: String,
    owner: Option<Home>,
    token: Option<String>,
}

impl World {
    pub fn request(&mut self) -> &'static str {
        let account = self.roll(2);
        let mut home = Home::new(&self.accounts[account], REGION);
        let asked = self.ask();
        if self.plant == Plant::IgnoresOwners
            && let Some(owner) = &asked.owner
            && self.roll(4) == 0
        {
            // As a program would act that looks up the id alone.
            home = owner.clone();
        }
        let tenant = Tenant { home: home.clone(), principal: root_arn(home.account()).into() };
        let Ok(params) = Params::parse(&[asked.query.as_bytes()]) else { return asked.name };
        let input = Input::Form(params);
        let done = dispatch(&self.control, tenant, Service::Ec2, &input, asked.name);
        // A refusal is as good an answer as any.
        let Ok(answer) = self.runtime.block_on(done) else { return asked.name };
        if asked.owner.is_some_and(|owner| owner.account() != self.accounts[account]) {
            self.told.wrong(format!("{} was done for another account", asked.query));
        }
        if asked.name == "run" {
            self.told.launched(&home, asked.token.as_deref(), &answer.into_text());
        }
        asked.name
    }

    fn ask(&mut self) -> Asked {
        match self.roll(24) {
            0..7 => self.ask_launch(),
            7..16 => self.ask_about_an_instance(),
            16..19 => self.ask_about_an_address(),
            19..23 => self.ask_about_an_interface(),
            _ => self.ask_about_a_group(),
        }
    }

    fn ask_launch(&mut self) -> Asked {
        let (count, keep) = (1 + self.roll(3), self.roll(6) == 0);
        let token = (self.roll(3) == 0).then(|| format!("t{}", self.roll(4)));
        let mut query = format!("Action=RunInstances&ImageId={}&InstanceType=t3.nano", self.image);
        match &token {
            // A retry is the same request.
            Some(token) => query.push_str(&format!("&MinCount=1&MaxCount=2&ClientToken={token}")),
            None => query.push_str(&format!("&MinCount=1&MaxCount={count}")),
        }
        if keep && token.is_none() {
            query.push_str(
                "&BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false",
            );
        }
        Asked { name: "run", query, owner: None, token }
    }

    fn ask_about_an_instance(&mut self) -> Asked {
        let all = self.instances();
        let one = if all.is_empty() { None } else { Some(all[self.roll(all.len())].clone()) };
        let id = one.as_ref().map_or("i-00000000000000000", |i| i.id.as_str());
        let (name, query) = match self.roll(12) {
            0..2 => ("stop", format!("Action=StopInstances&InstanceId.1={id}&Force=true")),
            2 => ("stop", format!("Action=StopInstances&InstanceId.1={id}")),
            3..5 => ("start", format!("Action=StartInstances&InstanceId.1={id}")),
            5 => ("reboot", format!("Action=RebootInstances&InstanceId.1={id}")),
            6 => ("modify", format!("Action=ModifyInstanceAttribute&InstanceId={id}&SourceDestCheck.Value=false")),
            7 => ("tag", format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=a&Tag.1.Value=b")),
            _ => ("terminate", format!("Action=TerminateInstances&InstanceId.1={id}")),
        };
        Asked { name, query, owner: one.map(|i| i.home.clone()), token: None }
    }

    fn ask_about_an_address(&mut self) -> Asked {
        let (all, instances) = (self.control.db.read(System, awan_state::Tx::all::<Address>), self.instances());
        if all.is_empty() || instances.is_empty() || self.roll(4) == 0 {
            return Asked { name: "allocate", query: "Action=AllocateAddress".into(), owner: None, token: None };
        }
        let (address, to) = (all[self.roll(all.len())].clone(), instances[self.roll(instances.len())].id.clone());
        let id = &address.id;
        let association = address.association.as_ref().map_or_else(String::new, |a| a.id.to_string());
        let (name, query) = match self.roll(4) {
            0..2 => ("associate", format!("Action=AssociateAddress&AllocationId={id}&InstanceId={to}")),
            2 => ("disassociate", format!("Action=DisassociateAddress&AssociationId={association}")),
            _ => ("release", format!("Action=ReleaseAddress&AllocationId={id}")),
        };
        Asked { name, query, owner: Some(address.home.clone()), token: None }
    }

    /// About one beside the primary ones: these never part from their instances.
    fn ask_about_an_interface(&mut self) -> Asked {
        let instances = self.instances();
        let mut all = self.control.db.read(System, awan_state::Tx::all::<NetworkInterface>);
        all.retain(|eni| instances.iter().all(|i| i.interface != eni.id));
        if all.len() < 2 || self.roll(8) == 0 {
            let subnets = self.control.db.read(System, awan_state::Tx::all::<Subnet>);
            let subnet = &subnets[self.roll(subnets.len())];
            let query = format!("Action=CreateNetworkInterface&SubnetId={}", subnet.id);
            return Asked { name: "create interface", query, owner: Some(subnet.home.clone()), token: None };
        }
        let eni = all[self.roll(all.len())].clone();
        let near: Vec<_> = instances.iter().filter(|i| i.home == eni.home && i.zone == eni.zone).collect();
        let id = &eni.id;
        let (name, query) = match &eni.attachment {
            Some(held) => {
                let force = self.roll(3) == 0;
                ("detach", format!("Action=DetachNetworkInterface&AttachmentId={}&Force={force}", held.id))
            }
            None if near.is_empty() || self.roll(8) == 0 => {
                ("delete interface", format!("Action=DeleteNetworkInterface&NetworkInterfaceId={id}"))
            }
            None => {
                let to = &near[self.roll(near.len())].id;
                let query =
                    format!("Action=AttachNetworkInterface&DeviceIndex=1&NetworkInterfaceId={id}&InstanceId={to}");
                ("attach", query)
            }
        };
        Asked { name, query, owner: Some(eni.home.clone()), token: None }
    }

    fn ask_about_a_group(&mut self) -> Asked {
        let all = self.control.db.read(System, awan_state::Tx::all::<SecurityGroup>);
        if all.is_empty() || self.roll(2) == 0 {
            let name = self.roll(4);
            let query = format!("Action=CreateSecurityGroup&GroupName=g{name}&GroupDescription=sim");
            return Asked { name: "create group", query, owner: None, token: None };
        }
        let (a, b) = (all[self.roll(all.len())].clone(), all[self.roll(all.len())].clone());
        let (name, query) = match self.roll(2) {
            0 => ("delete group", format!("Action=DeleteSecurityGroup&GroupId={}", a.id)),
            _ => (
                "authorize",
                format!(
                    "Action=AuthorizeSecurityGroupIngress&GroupId={}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId={}",
                    a.id, b.id
                ),
            ),
        };
        Asked { name, query, owner: Some(a.home.clone()), token: None }
    }
}
