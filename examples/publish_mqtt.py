"""Send poses to an MQTT broker: python publish_mqtt.py mqtt://broker.local SOURCE

Needs the extra `camera`. The password is read from EDGEPOSE_MQTT_PASSWORD, the user from the address.
"""

import sys

import edgepose

edgepose.run_camera(source=sys.argv[2], sinks=(sys.argv[1],))
