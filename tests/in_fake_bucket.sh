# Runs a command where Google's object store is a stand-in: `unshare --mount --net bash in_fake_bucket.sh PYTHON FOLDER COMMAND..`.
# In a network and a /etc/hosts of its own the names of the store mean this machine, so nothing leaves it and nothing else sees the change.
set -e
python=$1 folder=$2
shift 2
ip link set lo up
echo "127.0.0.1 localhost www.googleapis.com storage.googleapis.com" > "$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$folder/key.pem" -out "$folder/cert.pem" -subj /CN=www.googleapis.com \
  -addext "subjectAltName=DNS:www.googleapis.com,DNS:storage.googleapis.com" 2> /dev/null
"$python" "$(dirname "$0")/fake_bucket.py" "$folder" &
server=$!
trap 'kill "$server"; wait "$server"' EXIT
while [ ! -e "$folder/ready" ]; do sleep 0.1; done
export CURL_CA_BUNDLE=$folder/cert.pem TENSORSTORE_CA_BUNDLE=$folder/cert.pem REQUESTS_CA_BUNDLE=$folder/cert.pem
export NO_GCE_CHECK=true STORAGE_EMULATOR_HOST=https://storage.googleapis.com GOOGLE_CLOUD_PROJECT=laboratory
"$@"
