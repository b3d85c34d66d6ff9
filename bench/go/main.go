// The usual hand-written function in Go: prints the event of a launch and lets the instance go on. With the Runtime
// API's loop, because Debian packages AWS's SDK and not aws-lambda-go.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

type event struct {
	Detail struct {
		AutoScalingGroupName, LifecycleHookName, LifecycleActionToken, EC2InstanceId string
	} `json:"detail"`
}

func handle(client *autoscaling.Client, body *bytes.Buffer) error {
	fmt.Println("event", body.String())
	var event event
	if err := json.Unmarshal(body.Bytes(), &event); err != nil {
		return err
	}
	_, err := client.CompleteLifecycleAction(context.Background(), &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName:  &event.Detail.AutoScalingGroupName,
		LifecycleHookName:     &event.Detail.LifecycleHookName,
		LifecycleActionToken:  &event.Detail.LifecycleActionToken,
		InstanceId:            &event.Detail.EC2InstanceId,
		LifecycleActionResult: aws.String("CONTINUE"),
	})
	return err
}

func run(client *autoscaling.Client, api string) error {
	next, err := http.Get(api + "next")
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(next.Body); err != nil {
		return err
	}
	next.Body.Close()
	if err := handle(client, &body); err != nil {
		return err
	}
	id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
	answer, err := http.Post(api+id+"/response", "application/json", bytes.NewBufferString(`"completed"`))
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func main() {
	// This SDK is older than AWS_ENDPOINT_URL.
	endpoint := aws.EndpointResolverWithOptionsFunc(func(_, _ string, _ ...interface{}) (aws.Endpoint, error) {
		return aws.Endpoint{URL: os.Getenv("AWS_ENDPOINT_URL")}, nil
	})
	settings, err := config.LoadDefaultConfig(context.Background(), config.WithEndpointResolverWithOptions(endpoint))
	if err != nil {
		log.Fatal(err)
	}
	client := autoscaling.NewFromConfig(settings)
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		if err := run(client, api); err != nil {
			log.Fatal(err)
		}
	}
}
