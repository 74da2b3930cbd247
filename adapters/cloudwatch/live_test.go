//go:build live

package cloudwatch_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awscloudwatch "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/cloudwatch"
)

// CloudWatch makes metrics of the lines. EXCHANGE_LIVE_LOG_GROUP is a log group
// to write to; the metrics are in the namespace exchange-live, and cost a little.
func TestLiveExtraction(t *testing.T) {
	group := os.Getenv("EXCHANGE_LIVE_LOG_GROUP")
	require.NotEmpty(t, group, "EXCHANGE_LIVE_LOG_GROUP names a log group to write to")
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx)
	require.NoError(t, err)
	name := "live_" + strings.ToLower(rand.Text())
	var out bytes.Buffer
	m, err := cloudwatch.New(cloudwatch.Config{Namespace: "exchange-live", Output: &out})
	require.NoError(t, err)
	m.Count(name, 1, 7)
	require.NoError(t, m.Flush())

	logs, stream := cloudwatchlogs.NewFromConfig(cfg), aws.String(name)
	_, err = logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String(group), LogStreamName: stream})
	require.NoError(t, err)
	_, err = logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String(group), LogStreamName: stream,
		LogEvents: []logtypes.InputLogEvent{{Message: aws.String(out.String()), Timestamp: aws.Int64(time.Now().UnixMilli())}}})
	require.NoError(t, err)
	client := awscloudwatch.NewFromConfig(cfg)
	require.Eventually(t, func() bool {
		got, err := client.GetMetricStatistics(ctx, &awscloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("exchange-live"), MetricName: aws.String(name), Period: aws.Int32(60), Statistics: []cwtypes.Statistic{cwtypes.StatisticSum},
			Dimensions: []cwtypes.Dimension{{Name: aws.String("instrument"), Value: aws.String("1")}},
			StartTime:  aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(time.Minute)),
		})
		return err == nil && len(got.Datapoints) == 1 && aws.ToFloat64(got.Datapoints[0].Sum) == 7
	}, 10*time.Minute, 10*time.Second)
}
