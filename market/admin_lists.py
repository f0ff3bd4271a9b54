"""The admin's page on which an exchange's own list of holidays is imported."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminFileFieldWidget

from market import calendar
from market.calendar_lists import import_list
from market.exceptions import HolidayListInvalid
from market.holiday_lists import MOST_BYTES


class ListForm(forms.Form):
    file = forms.FileField(label="The list", widget=UnfoldAdminFileFieldWidget)
    exchanges = forms.MultipleChoiceField(
        label="The markets that it holds for",
        choices=[(name, f"{name} ({segment})") for name, segment in calendar.SEGMENTS.items()],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(f"It is larger than {MOST_BYTES >> 10:,} KiB: this is something else.")
        return file


def list_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Asks for a file and the markets; imports it, or says by the field why not. `context`: the admin site's own."""
    form = ListForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            done = import_list(file.read(), exchanges=form.cleaned_data["exchanges"], name=file.name)
        except HolidayListInvalid as exc:
            form.add_error("file", f"Nothing was imported: {exc}.")
        else:
            messages.success(request, f"Imported {done}.")
            return HttpResponseRedirect(reverse("admin:market_tradingsession_changelist"))
    return render(request, "market/import_list.html", context | {"form": form, "title": "Import an exchange’s list"})
