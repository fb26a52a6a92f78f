// A server's life by the SDK for JavaScript: launched, waited for, listed by pages, stopped, terminated. Prints what it saw.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MODULES}/`);
const ec2sdk = require("@aws-sdk/client-ec2");
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const {
  AuthorizeSecurityGroupIngressCommand, CreateKeyPairCommand, CreateSecurityGroupCommand, CreateTagsCommand, DeleteKeyPairCommand,
  DeleteSecurityGroupCommand, DescribeInstancesCommand, EC2Client, RunInstancesCommand, StopInstancesCommand, TerminateInstancesCommand,
  paginateDescribeInstances, waitUntilInstanceRunning, waitUntilInstanceStatusOk, waitUntilInstanceStopped, waitUntilInstanceTerminated,
} = ec2sdk;

const settings = { region: "us-east-1", endpoint: process.env.ENDPOINT, maxAttempts: 1 };
const ec2 = new EC2Client(settings);
const patience = { client: ec2, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
const seen = { account: (await new STSClient(settings).send(new GetCallerIdentityCommand({}))).Account };

const key = await ec2.send(new CreateKeyPairCommand({ KeyName: "js", KeyType: "ed25519" }));
seen.key = key.KeyMaterial.startsWith("-----BEGIN OPENSSH PRIVATE KEY-----");
const { GroupId } = await ec2.send(new CreateSecurityGroupCommand({ GroupName: "js", Description: "a & b (c)" }));
await ec2.send(new AuthorizeSecurityGroupIngressCommand({
  GroupId, IpPermissions: [{ IpProtocol: "tcp", FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: "10.0.0.0/8", Description: "lab" }] }],
}));
const launched = await ec2.send(new RunInstancesCommand({
  ImageId: process.env.IMAGE, InstanceType: "t3.micro", MinCount: 7, MaxCount: 7, KeyName: "js", SecurityGroupIds: [GroupId],
  TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "Name", Value: "js" }] }],
}));
const InstanceIds = launched.Instances.map((instance) => instance.InstanceId);
await waitUntilInstanceRunning(patience, { InstanceIds });
await waitUntilInstanceStatusOk(patience, { InstanceIds });
await ec2.send(new CreateTagsCommand({ Resources: InstanceIds, Tags: [{ Key: "text", Value: "<é&+ %41>" }] }));
seen.pages = [];
for await (const page of paginateDescribeInstances({ client: ec2, pageSize: 5 }, { Filters: [{ Name: "tag:Name", Values: ["j?"] }] })) {
  seen.pages.push(page.Reservations.flatMap((reservation) => reservation.Instances).length);
}
const about = (await ec2.send(new DescribeInstancesCommand({ InstanceIds: [InstanceIds[0]] }))).Reservations[0].Instances[0];
seen.state = about.State.Name;
seen.launched = about.LaunchTime instanceof Date;
seen.text = about.Tags.find((tag) => tag.Key === "text").Value;
await ec2.send(new StopInstancesCommand({ InstanceIds: [InstanceIds[0]] }));
await waitUntilInstanceStopped(patience, { InstanceIds: [InstanceIds[0]] });
await ec2.send(new TerminateInstancesCommand({ InstanceIds }));
await waitUntilInstanceTerminated(patience, { InstanceIds });
seen.error = await ec2.send(new DescribeInstancesCommand({ InstanceIds: ["i-0123456789abcdef0"] })).catch((error) => error.name);
await ec2.send(new DeleteSecurityGroupCommand({ GroupId }));
await ec2.send(new DeleteKeyPairCommand({ KeyName: "js" }));
console.log(JSON.stringify(seen));
