"""One call by boto3: the service, the operation as AWS spells it, and its parameters in JSON are the arguments.

Prints {"answer": ...}, or {"code": ..., "status": ..., "message": ...} of a refusal.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore import xform_name


def main(service, operation, params):
    # The first answer is the one that is wanted.
    client = boto3.client(service, config=Config(retries={"total_max_attempts": 1}))
    try:
        answer = getattr(client, xform_name(operation))(**json.loads(params))
    except ClientError as error:
        told = error.response["Error"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        said = {"code": told["Code"], "status": status, "message": told["Message"]}
    else:
        answer.pop("ResponseMetadata", None)
        said = {"answer": answer}
    print(json.dumps(said, default=lambda value: value.isoformat()))


main(*sys.argv[1:])
