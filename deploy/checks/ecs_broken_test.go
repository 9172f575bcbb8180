package checks

import (
	"maps"
	"strings"
	"testing"
)

// Each thing that TestECS looks at is broken once, and must be seen.
func TestBrokenECSIsSeen(t *testing.T) {
	t.Parallel()
	whole := ecsTexts(t)
	for _, c := range []struct{ in, old, broken, fault string }{
		// what CloudFormation itself would refuse
		{"services", "MinimumHealthyPercent", "MinHealthyPercent", "additional properties 'MinHealthyPercent' not allowed"},
		{"services", "StopTimeout: 100", "StopTimeout: soon", "StopTimeout"},
		{"services", "Type: AWS::ECS::Service", "Type: AWS::ECS::Servise", "no type AWS::ECS::Servise"},
		{"services", "TaskDefinition: !Ref WorkerTask", "TaskDefinition: !Ref WorkersTask", "no WorkersTask to refer to"},
		{"services", "!GetAtt Balancer.DNSName", "!GetAtt Balancer.Name", "no Balancer.Name to ask for"},
		{"services", "DependsOn: Https", "DependsOn: Http", "depends on Http"},
		{"watch", "${Base}-WorkerGroup", "${Base}-WorkersGroup", "nobody exports closeout-sandbox-WorkersGroup"},
		{"base", "Default: db.t4g.medium\n", "Default: db.t4g.medium\n  Spare: {Type: String, Default: x}\n", "nothing uses Spare"},
		{"base", "    Condition: MakesDatabase\n    DeletionPolicy: Snapshot\n", "    DeletionPolicy: Snapshot\n", "which is not made"},

		// tasks
		{"services", "Image: !Ref Image", "Image: closeout:latest", "runs the image closeout:latest"},
		{"services", `User: "65532:65532"`, `User: "0"`, "runs as 0"},
		{"services", "ReadonlyRootFilesystem: true", "ReadonlyRootFilesystem: false", "its root can be written"},
		{"services", "Drop: [ALL]", "Drop: [NET_RAW]", "keeps capabilities"},
		{"services", "StopTimeout: 100", "StopTimeout: 60", "is given 60 s to stop"},
		{"services", "StopTimeout: 100", "StopTimeout: 121", "is given 121 s to stop"},
		{"services", "Command: [worker]", "Command: [workers]", `no command "workers"`},
		{"services", `"http://127.0.0.1:8080/health"`, `"http://127.0.0.1:8000/health"`, "is asked"},
		{"services", "Retries: 10", "Retries: 3", "has every worker stopped"},
		{"services", "PortMappings: [{ContainerPort: 8080}]", "PortMappings: [{ContainerPort: 8081}]", "listens elsewhere"},
		{"services", "ExecutionRoleArn: !GetAtt Execution.Arn", "ExecutionRoleArn: !GetAtt Execution.Arn\n      TaskRoleArn: !GetAtt Execution.Arn", "the program has a role"},
		{"services", "StartPeriod: 120", "StartPeriod: 120\n            Timeout: 5", "twice"},

		// settings and secrets
		{"services", "Name: CLOSEOUT_MAIL_FROM", "Name: CLOSEOUT_MAIL_FORM", "no setting CLOSEOUT_MAIL_FORM"},
		{"services", "{Name: CLOSEOUT_LOG_FORMAT, Value: json}", "{Name: CLOSEOUT_ALPACA_SECRET, Value: hunter2}", "is a secret and stands in clear"},
		{"services", `ValueFrom: !Sub "${Settings}:CLOSEOUT_ALPACA_SECRET::"`, `ValueFrom: !Sub "${Settings}:CLOSEOUT_ALPACA_KEY::"`, "CLOSEOUT_ALPACA_SECRET comes from"},
		{"once", "{Name: CLOSEOUT_REDIS_URL,", "{Name: CLOSEOUT_LOG_LEVEL,", "CLOSEOUT_LOG_LEVEL is no secret"},
		{"once", "{Name: CLOSEOUT_ACCOUNT_STATUS, Value: !Ref AccountStatus}", "{Name: CLOSEOUT_LOG_LEVEL, Value: !Ref AccountStatus}", "once/Once: has no CLOSEOUT_ACCOUNT_STATUS"},
		{"services", "{Name: CLOSEOUT_RELAXED_LOOKS, Value: !Ref RelaxedLooks}", "!Ref AWS::NoValue", "services/WorkerTask: has no CLOSEOUT_RELAXED_LOOKS"},
		{"services", "{Name: CLOSEOUT_OIDC_CLAIM, Value: !Ref OidcClaim}", "!Ref AWS::NoValue", "services/ServerTask: has no CLOSEOUT_OIDC_CLAIM"},
		{"once", "{Name: CLOSEOUT_UNKNOWN_TRANSFER, Value: !Ref UnknownTransfer}", "!Ref AWS::NoValue", "once/Once: has no CLOSEOUT_UNKNOWN_TRANSFER"},
		{"services", "    Default: 50000\n", "    Default: 5000\n", `is "5000" where nobody says so, and the program's own is "50000"`},
		{"once", `AllowedValues: ["", ask, auto]`, `AllowedValues: ["", ask]`, "UnknownTransfer: services takes"},
		{"once", "- {Name: CLOSEOUT_LEGACY_REDIS_URL, ValueFrom: !Ref EarlierRedis}", "- !Ref AWS::NoValue", "or the import does not"},
		{"once", "FromPort: !Ref EarlierRedisPort,", "FromPort: 1,", "the import, out"},
		{"once", "${Tasks},${EarlierRedisGroup}", "${Tasks}", "is started by"},
		{"base", `AuthToken: !Sub "{{resolve:secretsmanager:${RedisPassword}}}"`, "AuthToken: hunter2hunter2hunter2", "a password stands in the template"},
		{"base", `SecretString: !Sub "rediss://:{{resolve:secretsmanager:${RedisPassword}}}@`, `SecretString: !Sub "rediss://:hunter2@`, "its value stands in the template"},

		// services
		{"services", "AssignPublicIp: DISABLED", "AssignPublicIp: ENABLED", "has a public address"},
		{"services", `Subnets: !Split [",", {"Fn::ImportValue": !Sub "${Base}-PrivateSubnets"}]`, "Subnets: !Ref PublicSubnets", "other subnets than the private ones"},
		{"services", "Rollback: true", "Rollback: false", "fail and stay"},
		{"services", "MinimumHealthyPercent: 100", "MinimumHealthyPercent: 0", "may leave a gap"},
		{"services", "ServiceName: closeout-worker", "ServiceName: worker", "the services are"},
		{"services", "DesiredCount: !Ref ServerCount", "DesiredCount: 1", "there is one server"},
		{"services", "TaskDefinition: !Ref WorkerTask", "TaskDefinition: !Ref WorkerTask\n      DesiredCount: 2", "set the number of workers back"},
		{"once", "assignPublicIp=DISABLED", "assignPublicIp=ENABLED", "is started by"},

		// who may speak to whom
		{"services", "FromPort: !Ref MailPort, ToPort: !Ref MailPort", "FromPort: 0, ToPort: 65535", "a worker, out"},
		{"base", "Description: Redis}\n", "Description: Redis}\n        - {IpProtocol: \"-1\", CidrIp: 0.0.0.0/0}\n", "a worker, out"},
		{"services", "      SecurityGroupEgress: # without a rule of ours AWS lets everything out\n        - {IpProtocol: tcp, FromPort: 1, ToPort: 1, CidrIp: 127.0.0.1/32, Description: nowhere}\n", "", "a server, out"},
		{"watch", "FromPort: 8080, ToPort: 8080}\n  Execution", "FromPort: 1, ToPort: 65535}\n  Execution", "a worker, in"},
		{"services", "CidrIp: !Ref Callers", "CidrIp: 0.0.0.0/0", "the load balancer, in"},
		{"base", "GroupId: !Ref RedisGroup, SourceSecurityGroupId: !Ref Tasks", "GroupId: !Ref RedisGroup, CidrIp: 0.0.0.0/0", "Redis, in"},
		{"base", "GroupId: !Ref DatabaseGroup, SourceSecurityGroupId: !Ref Tasks", "GroupId: !Ref DatabaseGroup, CidrIp: 0.0.0.0/0", "Postgres, in"},
		{"services", "GroupDescription: The way in to Closeout", "GroupDescription: Closeout's door", "EC2 does not take its description"},

		// the load balancer
		{"services", "Protocol: HTTPS", "Protocol: HTTP", "no TLS of today"},
		{"services", "SslPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06", "SslPolicy: ELBSecurityPolicy-2016-08", "no TLS of today"},
		{"services", "Values: [/metrics]", "Values: [/metric]", "the metrics can be read from outside"},
		{"services", "Priority: 1\n", "Priority: 2\n", "the metrics can be read from outside"},
		{"services", "UnhealthyThresholdCount: 10", "UnhealthyThresholdCount: 3", "has every server replaced"},
		{"services", `Value: "30"}`, `Value: "300"}`, "leaves a server after"},

		// scaling and alarms
		{"services", "    Default: 2\n    MinValue: 1\n", "    Default: 2\n    MinValue: 0\n", "there may be no worker"},
		{"services", "    Default: 2\n    MinValue: 1\n", "    Default: 0\n    MinValue: 0\n", "from 0 to"},
		{"services", "MetricName: closeout_due_visits", "MetricName: closeout_visits_due", "closeout_visits_due is no series"},
		{"services", "MetricName: closeout_due_visits", "MetricName: asynq_queue_size", "sends no asynq_queue_size"},
		{"services", "Stat: Maximum", "Stat: Sum", "each server's number"},
		{"services", "Expression: due / workers", "Expression: due", "want the backlog per worker"},
		{"services", "{Name: job, Value: closeout-server}", "{Name: job, Value: closeout-worker}", "sends no closeout_due_visits"},
		{"base", "Value: enabled", "Value: disabled", "nobody counts the workers"},
		{"watch", "  CloseoutSweepSilent:", "  CloseoutSweepFails:", "CloseoutSweepFails is no alert that pages"},
		{"watch", "#closeoutvisitswait", "#closeoutvisits", "does not name its place"},
		{"watch", "TreatMissingData: breaching", "TreatMissingData: notBreaching", "is silent when the agent is"},
		{"watch", "{Name: kind, Value: transfer}", "{Name: kin, Value: transfer}", "sends no closeout_intents"},
		{"watch", "AlarmActions: !If [Pages, [!Ref AlarmTopic], !Ref AWS::NoValue]", "InsufficientDataActions: []", "pages nobody"},

		// the stores
		{"base", "maxmemory-policy: noeviction", "maxmemory-policy: volatile-lru", "may drop tasks"},
		{"base", "TransitEncryptionEnabled: true", "TransitEncryptionEnabled: false", "Redis is not encrypted"},
		{"base", `SecretString: !Sub "rediss:`, `SecretString: !Sub "redis:`, "in clear"},
		{"base", "NumCacheClusters: 2", "NumCacheClusters: 1", "nothing to fall back to"},
		{"base", "CacheParameterGroupFamily: redis7", "CacheParameterGroupFamily: redis6", "another version's"},
		{"base", `synchronous_commit: "on"`, `synchronous_commit: "off"`, "loses commits"},
		{"base", "DeletionProtection: true", "DeletionProtection: false", "the ledger can be lost"},
		{"base", "PubliclyAccessible: false", "PubliclyAccessible: true", "the ledger is open"},
		{"base", "Family: postgres17", "Family: postgres16", "with the parameters of"},
		{"base", "sslmode=verify-full", "sslmode=require", "certificate is not looked at"},

		// roles
		{"watch", `"logs:DescribeLogStreams"]`, `"logs:*"]`, "may do logs:*"},
		{"once", "Resource:\n                  - {\"Fn::ImportValue\": !Sub \"${Base}-RedisUrl\"}\n", "Resource:\n                  - \"*\"\n", "to everything"},
	} {
		texts := maps.Clone(whole)
		texts[c.in] = strings.Replace(whole[c.in], c.old, c.broken, 1)
		if texts[c.in] == whole[c.in] {
			t.Errorf("%s.yaml has no %q to break", c.in, c.old)
			continue
		}
		faults := strings.Join(ecsFaults(t, texts), "\n")
		if !strings.Contains(faults, c.fault) {
			t.Errorf("%s.yaml: %q for %q is not seen as %q, but as:\n%s", c.in, c.broken, c.old, c.fault, faults)
		}
	}
}
