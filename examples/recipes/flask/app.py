"""A Flask application that sends mail through the mail proxy by plain HTTP: submit in a request, receive reports."""
import hmac
import json
import os
import re
import sqlite3
import sys
import urllib.error
import urllib.request
import uuid

from flask import Flask, g, jsonify, request

MAIL_PROXY_URL = os.environ.get("MAIL_PROXY_URL", "http://127.0.0.1:8000")
MAIL_PROXY_KEY = os.environ["MAIL_PROXY_KEY"]
REPORT_TOKEN = os.environ["REPORT_TOKEN"]
DATABASE = os.environ.get("DATABASE", "orders.db")
# Not a fault of the mail: it waits.
LATER = ("in_progress", "quota_exceeded", "tenant_inactive")

app = Flask(__name__)


@app.post("/orders")
def place_order():
    email = (request.get_json() or {}).get("email", "")
    # One address: the proxy would take several, with commas between them.
    if not isinstance(email, str) or not re.fullmatch(r"[^\s,;@]+@[^\s,;@]+", email):
        return jsonify(error="email should be one address"), 400
    with db() as connection:
        values = [email, f"order-{uuid.uuid4()}"]
        order_id = connection.execute("insert into orders (email, mail_id) values (?, ?)", values).lastrowid
    submit_waiting()
    return jsonify(order_of(order_id)), 201


@app.get("/orders/<int:order_id>")
def show_order(order_id):
    order = order_of(order_id)
    return jsonify(order or {"error": "no such order"}), 200 if order else 404


@app.post("/mail-proxy/sync")
def receive_reports():
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {REPORT_TOKEN}".encode()):
        return jsonify(ok=False), 401
    # All of it or nothing. Whatever raises is a 500, which acknowledges nothing: the proxy comes again.
    with db() as connection:
        for entry in request.get_json().get("delivery_report", []):
            state = "sent" if "sent_ts" in entry else "error" if "error_ts" in entry else None
            if state:
                values = [state, entry.get("error"), entry["id"]]
                connection.execute("update orders set mail = ?, error = ? where mail_id = ?", values)
    return jsonify(ok=True)


def submit_waiting():
    """Ids make it harmless to submit twice, so what may not have arrived is simply submitted again.

    Call it from time to time too, as with cron or a task queue: `python3 app.py submit`.
    """
    with db() as connection:
        sql = "select id, email, mail_id from orders where mail = 'waiting' order by id limit 500"
        orders = connection.execute(sql).fetchall()
    if not orders:
        return
    messages = [
        {
            "id": mail_id,
            "from": "shop@example.org",
            "to": [email],
            "subject": f"Your order {order_id}",
            "body": "Thank you for your order.",
        }
        for order_id, email, mail_id in orders
    ]
    try:
        rejected = post("/commands/add-messages", {"messages": messages})["rejected"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"Not submitted, will be tried again: {error!r}", file=sys.stderr)
        return
    refused = {each["id"]: each for each in rejected}
    with db() as connection:
        for _, _, mail_id in orders:
            refusal = refused.get(mail_id, {"code": "already_sent"})
            if refusal["code"] == "already_sent":
                state, error = "submitted", None
            elif refusal["code"] in LATER:
                continue
            else:
                state, error = "error", refusal["reason"]
            # Not if its report was faster.
            sql = "update orders set mail = ?, error = ? where mail_id = ? and mail = 'waiting'"
            connection.execute(sql, [state, error, mail_id])


def post(path, body):
    """The proxy's answer; of messages that were all refused too, which is a 400."""
    headers = {"X-API-Token": MAIL_PROXY_KEY, "Content-Type": "application/json"}
    call = urllib.request.Request(MAIL_PROXY_URL + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def order_of(order_id):
    with db() as connection:
        row = connection.execute("select id, mail, error from orders where id = ?", [order_id]).fetchone()
    return row and {"id": row[0], "mail": row[1], "error": row[2]}


def db():
    """One connection a request; `with` makes what is inside one transaction."""
    if "db" not in g:
        g.db = sqlite3.connect(DATABASE)
        # The order's own row says what its mail is at: waiting, submitted, sent or error. The mail's id is kept with it, and
        # is not the order's number: in a database made anew that would be the id of a mail that the proxy sends no more.
        g.db.execute(
            "create table if not exists orders"
            " (id integer primary key, email text not null, mail_id text not null unique,"
            " mail text not null default 'waiting', error text)"
        )
    return g.db


@app.teardown_appcontext
def close_db(_):
    if "db" in g:
        g.pop("db").close()


if __name__ == "__main__":
    with app.app_context():
        submit_waiting()
    if sys.argv[1:] != ["submit"]:
        app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))
