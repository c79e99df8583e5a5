"""A Django application in one file that sends mail through the mail proxy by plain HTTP: submit in a view, receive reports."""
import hmac
import json
import os
import re
import sys
import urllib.error
import urllib.request
import uuid

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE", "orders.db")}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATA_UPLOAD_MAX_MEMORY_SIZE=5_000_000,
    USE_TZ=True,
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from django.views.decorators.http import require_GET, require_POST  # noqa: E402

MAIL_PROXY_URL = os.environ.get("MAIL_PROXY_URL", "http://127.0.0.1:8000")
MAIL_PROXY_KEY = os.environ["MAIL_PROXY_KEY"]
REPORT_TOKEN = os.environ["REPORT_TOKEN"]
# Not a fault of the mail: it waits.
LATER = ("in_progress", "quota_exceeded", "tenant_inactive")


def new_mail_id():
    return f"order-{uuid.uuid4()}"


class Order(models.Model):
    email = models.TextField()
    # Kept with the order, and not its number: in a database made anew that would be the id of a mail that the proxy has
    # sent, and sends no more.
    mail_id = models.CharField(max_length=64, unique=True, default=new_mail_id)
    # What its mail is at: waiting, submitted, sent or error.
    mail = models.TextField(default="waiting")
    error = models.TextField(null=True)

    class Meta:
        app_label = "orders"

    def as_json(self):
        return {"id": self.pk, "mail": self.mail, "error": self.error}


@csrf_exempt
@require_POST
def place_order(request):
    email = json.loads(request.body or "{}").get("email", "")
    # One address: the proxy would take several, with commas between them.
    if not isinstance(email, str) or not re.fullmatch(r"[^\s,;@]+@[^\s,;@]+", email):
        return JsonResponse({"error": "email should be one address"}, status=400)
    with transaction.atomic():
        order = Order.objects.create(email=email)
        # Never before: a submission cannot be rolled back.
        transaction.on_commit(submit_waiting)
    order.refresh_from_db()
    return JsonResponse(order.as_json(), status=201)


@require_GET
def show_order(request, order_id):
    order = Order.objects.filter(pk=order_id).first()
    return JsonResponse(order.as_json()) if order else JsonResponse({"error": "no such order"}, status=404)


@csrf_exempt
@require_POST
def receive_reports(request):
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {REPORT_TOKEN}".encode()):
        return JsonResponse({"ok": False}, status=401)
    # All of it or nothing. Whatever raises is a 500, which acknowledges nothing: the proxy comes again.
    with transaction.atomic():
        for entry in json.loads(request.body).get("delivery_report", []):
            state = "sent" if "sent_ts" in entry else "error" if "error_ts" in entry else None
            if state:
                Order.objects.filter(mail_id=entry["id"]).update(mail=state, error=entry.get("error"))
    return JsonResponse({"ok": True})


def submit_waiting():
    """Ids make it harmless to submit twice, so what may not have arrived is simply submitted again.

    Call it from time to time too, as with cron or a task queue: `python3 app.py submit`.
    """
    orders = list(Order.objects.filter(mail="waiting").order_by("pk")[:500])
    if not orders:
        return
    messages = [
        {
            "id": order.mail_id,
            "from": "shop@example.org",
            "to": [order.email],
            "subject": f"Your order {order.pk}",
            "body": "Thank you for your order.",
        }
        for order in orders
    ]
    try:
        rejected = post("/commands/add-messages", {"messages": messages})["rejected"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"Not submitted, will be tried again: {error!r}", file=sys.stderr)
        return
    refused = {each["id"]: each for each in rejected}
    for order in orders:
        refusal = refused.get(order.mail_id, {"code": "already_sent"})
        # Not if its report was faster.
        waiting = Order.objects.filter(pk=order.pk, mail="waiting")
        if refusal["code"] == "already_sent":
            waiting.update(mail="submitted")
        elif refusal["code"] not in LATER:
            waiting.update(mail="error", error=refusal["reason"])


def post(path, body):
    """The proxy's answer; of messages that were all refused too, which is a 400."""
    headers = {"X-API-Token": MAIL_PROXY_KEY, "Content-Type": "application/json"}
    call = urllib.request.Request(MAIL_PROXY_URL + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


urlpatterns = [
    path("orders", place_order),
    path("orders/<int:order_id>", show_order),
    path("mail-proxy/sync", receive_reports),
]

if __name__ == "__main__":
    # In place of migrations.
    if Order._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Order)
    submit_waiting()
    if sys.argv[1:] != ["submit"]:
        execute_from_command_line([sys.argv[0], "runserver", "--noreload", f"127.0.0.1:{os.environ.get('PORT', '3000')}"])
