"""The rules of the command line, and for each the tests that would fail if it did not hold. A rule without one is a gap."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from support.source import ROOT, report
from wfctl.cli.app import VERBS

TESTS = ROOT / "tests"
EXIT, OUTPUT, ERRORS, TERMINAL = (f"spec/cli/test_rules_{name}.py" for name in ("exit", "output", "errors", "terminal"))
LIFE, DAEMON, ENDPOINT = (
    "spec/cli/test_cli_daemon_life.py",
    "unit/cli/test_cli_daemon.py",
    "unit/server/test_server_endpoint.py",
)
VERB, LISTS, SEVERAL = (f"unit/cli/test_cli_{name}.py" for name in ("verbs", "lists", "several"))
COST = "arch/test_import_cost.py"
SCHEDULE = "spec/cli/test_cli_schedule.py"
TRY = "spec/cli/test_cli_terminal.py"

DRAWN, LIVE, FOLLOW = (f"unit/cli/test_cli_{name}.py" for name in ("tree_render", "live", "followers"))
READ = "unit/engine/test_reads_tree.py"

Rules = dict[str, list[tuple[str, str]]]
TREE: Rules = {
    "one line a node, status readable without colour": [
        (DRAWN, "test_a_fan_out_of_ten_thousand_is_drawn_as_the_contract_shows_it"),
        (DRAWN, "test_every_status_can_be_drawn"),
    ],
    "one glyph a status, one cell wide": [(DRAWN, "test_every_glyph_takes_one_cell_and_is_used_once")],
    "--words": [(DRAWN, "test_words_replace_glyphs_and_keep_statuses_apart")],
    "the ASCII form, on a dumb terminal and in a locale without UTF-8": [
        (DRAWN, "test_the_ascii_form_uses_ascii_only"),
        (LISTS, "test_where_the_terminal_writes_ascii_alone_all_is_told_in_it_and_fits"),
    ],
    "40, 80 and 200 columns": [
        (DRAWN, "test_no_line_is_wider_than_the_terminal"),
        (DRAWN, "test_forty_columns_keep_glyphs_durations_and_failures"),
        (DRAWN, "test_two_hundred_columns_add_start_times_and_run_ids"),
        (DRAWN, "test_a_fan_out_at_two_hundred_columns_has_start_times_and_run_ids"),
        (OUTPUT, "test_whatever_is_shown_fits_the_terminal"),
    ],
    "the step of a running child, its tries and its progress stand on its line": [
        (DRAWN, "test_a_task_that_is_tried_again_counts_down_where_its_run_is_shown"),
        (DRAWN, "test_a_run_that_failed_tells_after_how_many_tries_and_one_step_that_it_took_several"),
        (DRAWN, "test_a_running_step_shows_its_progress_as_a_bar_and_as_a_number_where_it_is_narrow"),
        (DRAWN, "test_a_run_that_waits_tells_when_that_times_out_unless_the_row_of_its_wait_does"),
    ],
    "fold 1: causal order, a group at the slot of its first": [
        (DRAWN, "test_the_payment_stands_under_its_order_in_causal_order"),
        (DRAWN, "test_many_steps_of_one_name_are_one_line_at_the_place_of_the_first"),
        (READ, "test_children_of_one_type_are_a_group_from_one_more_than_the_limit"),
        (READ, "test_a_group_stands_where_its_first_member_was_started"),
    ],
    "fold 2: the slots of a sample": [
        (READ, "test_a_sample_has_two_failures_of_different_causes_and_one_of_each_that_is_well"),
        (READ, "test_slots_that_are_left_go_to_further_causes_and_then_to_further_failures"),
        (READ, "test_a_sample_has_the_one_whose_task_is_tried_again_soonest"),
        (READ, "test_the_one_that_runs_longest_is_not_shown_twice"),
        (READ, "test_completed_ones_are_counted_and_never_sampled"),
        (READ, "test_a_sample_is_never_larger_than_asked_for"),
    ],
    "fold 3: no fold without a number": [
        (DRAWN, "test_what_the_daemon_left_out_is_counted"),
        (DRAWN, "test_counts_of_causes_and_times_say_of_how_many_they_are"),
        (DRAWN, "test_what_a_cut_hides_is_counted_on_the_row"),
        (READ, "test_errors_of_one_cause_have_one_signature"),
    ],
    "fold 4: ways to failures are open, --fold, --expand, --only, --depth": [
        (DRAWN, "test_a_failed_child_is_opened_and_its_error_shown"),
        (DRAWN, "test_a_status_can_be_folded_and_a_run_type_or_status_opened"),
        (DRAWN, "test_a_folded_failure_is_still_counted"),
        (DRAWN, "test_only_what_failed_leaves_the_ways_to_it"),
        (READ, "test_what_is_expanded_is_neither_grouped_nor_left_out"),
        (READ, "test_depth_cuts_and_says_how_many_it_hides"),
        (FOLLOW, "test_a_wrong_value_is_refused_with_what_is_right"),
    ],
    "fold 5: the budget of lines": [
        (DRAWN, "test_over_the_line_budget_detail_goes_first_and_failures_last"),
        (DRAWN, "test_finished_steps_are_merged_before_anything_else_goes"),
        (DRAWN, "test_over_the_budget_failures_and_what_is_open_are_the_last_to_go"),
        (DRAWN, "test_a_hard_cut_says_how_many_lines_are_missing_and_how_to_see_them"),
        (OUTPUT, "test_history_details_and_a_whole_tree_are_paged_too"),
    ],
    "cost is that of what is shown": [
        (READ, "test_ten_thousand_children_cost_what_is_shown_of_them"),
        (READ, "test_children_of_a_group_member_are_not_loaded"),
    ],
    "live: what changed is rewritten, nothing when idle, the last frame stays": [
        (LIVE, "test_only_lines_that_changed_are_rewritten"),
        (LIVE, "test_a_frame_that_did_not_change_writes_nothing"),
        (LIVE, "test_the_cursor_comes_back_whatever_happens"),
        (LIVE, "test_after_a_resize_the_wrapped_frame_goes_as_a_whole"),
        (FOLLOW, "test_a_live_tree_redraws_in_place_and_leaves_its_last_frame"),
        (FOLLOW, "test_a_live_tree_keeps_what_it_shows_of_a_group_for_a_while"),
        (TERMINAL, "test_in_a_multiplexer_the_last_frame_stays_in_the_scrollback"),
    ],
    "live: it ends by outcome, Ctrl-C detaches": [
        (FOLLOW, "test_a_failed_root_makes_a_followed_tree_exit_with_ten"),
        (TRY, "test_ctrl_c_detaches_a_follower_with_the_cursor_back"),
    ],
    "off a terminal: whole, absolute, a line a change": [
        (DRAWN, "test_off_a_terminal_nothing_is_cut_and_times_are_absolute"),
        (DRAWN, "test_a_change_is_a_line_that_names_the_path"),
        (DRAWN, "test_beyond_fifty_changes_a_second_those_of_one_kind_are_one_line"),
        (FOLLOW, "test_following_a_tree_off_a_terminal_appends_changes"),
    ],
    "JSON with complete and a revision, JSONL with an end, --since-rev without a gap": [
        (DRAWN, "test_the_document_of_one_run_has_a_root_and_of_a_forest_roots"),
        (DRAWN, "test_json_lines_are_in_pre_order_and_end_with_counts"),
        (FOLLOW, "test_following_a_tree_in_json_lines_is_nodes_then_changes_then_an_end"),
        (FOLLOW, "test_changes_go_on_after_a_revision_and_after_a_restart_without_a_gap"),
        (READ, "test_a_snapshot_is_of_one_commit"),
    ],
}
CODES: Rules = {
    "0 done, or nothing to do": [(EXIT, "test_zero_is_done_and_also_nothing_to_do")],
    "1 a bug, with a report": [(EXIT, "test_one_is_a_bug_and_names_a_report")],
    "2 usage": [(EXIT, "test_two_is_usage")],
    "3 no daemon, status too": [(EXIT, "test_three_is_that_no_daemon_runs")],
    "4 unknown, whatever the verb": [
        (EXIT, "test_four_is_an_id_that_no_run_has_whatever_the_verb"),
        (EXIT, "test_four_is_also_a_type_an_event_a_query_and_says_the_nearest"),
    ],
    "5 conflict": [(EXIT, "test_five_is_a_conflict")],
    "6 incompatible": [
        (EXIT, "test_six_is_that_versions_do_not_fit"),
        (TERMINAL, "test_a_database_of_another_schema_is_not_read"),
    ],
    "7 denied": [(EXIT, "test_seven_is_no_permission"), (ENDPOINT, "test_another_uid_is_denied")],
    "8 storage": [
        (EXIT, "test_eight_is_storage"),
        (TERMINAL, "test_a_stream_that_takes_nothing_is_nobody_to_tell_and_no_bug"),
    ],
    "9 some failed": [(EXIT, "test_nine_is_that_some_failed")],
    "10 to 13 the outcome of the awaited run": [(EXIT, "test_ten_to_thirteen_tell_how_the_awaited_run_closed")],
    "14 not finished": [(EXIT, "test_fourteen_is_an_open_run_and_exit_zero_forgives_it")],
    "15 stuck": [(EXIT, "test_fifteen_is_a_stuck_run_where_that_was_asked_for")],
    "16 a person's no": [
        (TERMINAL, "test_the_end_of_stdin_at_a_prompt_is_a_no"),
        (TRY, "test_several_runs_are_asked_about_and_the_default_is_no"),
    ],
    "130 Ctrl-C detaches": [(TERMINAL, "test_ctrl_c_ends_a_follower_with_130_and_the_cursor_back")],
    "143 SIGTERM": [
        (TRY, "test_sigterm_restores_the_cursor_too"),
        (TERMINAL, "test_a_terminal_that_is_gone_is_no_bug"),
    ],
    "a closed pipe is silent and 0": [
        (TERMINAL, "test_a_closed_stdout_is_silent_and_zero"),
        (TERMINAL, "test_a_stream_that_takes_nothing_is_nobody_to_tell_and_no_bug"),
    ],
    "the most severe of several": [(EXIT, "test_of_several_awaited_runs_the_most_severe_counts")],
    "--exit-zero": [(EXIT, "test_exit_zero_hides_no_other_code")],
    "one enum of statuses": [(EXIT, "test_every_status_has_a_code_a_glyph_a_word_and_a_json_value_from_one_enum")],
}
STREAMS: Rules = {
    "3.1 stdout is what was asked for": [(OUTPUT, "test_stdout_is_what_was_asked_for_and_the_rest_is_on_stderr")],
    "3.1 each stream by itself": [(OUTPUT, "test_each_stream_is_coloured_by_itself")],
    "3.1 colour": [
        (OUTPUT, "test_colour_is_for_terminals_unless_it_is_asked_for"),
        (TERMINAL, "test_colour_goes_through_a_pipe_where_it_is_asked_for"),
    ],
    "3.2 formats on every command": [
        (OUTPUT, "test_every_command_takes_every_output_format"),
        (OUTPUT, "test_every_command_answers_in_json_that_parses"),
    ],
    "3.2 start prints the ID alone": [(OUTPUT, "test_start_prints_the_id_alone_and_with_wait_the_result_alone")],
    "3.2 -q": [(OUTPUT, "test_quiet_silences_all_but_errors")],
    "3.3 lists": [(OUTPUT, "test_a_list_in_json_has_items_next_and_total")],
    "3.3 IDs from one command to the next": [(OUTPUT, "test_ids_go_from_one_command_to_the_next")],
    "3.4 the style of JSON": [(OUTPUT, "test_json_has_one_style")],
    "3.5 times": [
        (OUTPUT, "test_times_are_relative_on_a_terminal_and_utc_elsewhere_and_as_asked_for"),
        (OUTPUT, "test_every_command_that_shows_times_shows_them_as_asked_for"),
    ],
    "3.5 thousands": [(OUTPUT, "test_thousands_are_separated_on_a_terminal_alone")],
    "3.6 tables": [
        (OUTPUT, "test_a_table_off_a_terminal_has_tabs_a_header_and_nothing_cut"),
        (OUTPUT, "test_optional_columns_come_when_a_row_has_them"),
        (OUTPUT, "test_a_table_fits_the_terminal"),
        (OUTPUT, "test_whatever_is_shown_fits_the_terminal"),
    ],
    "3.6 --fields": [(OUTPUT, "test_fields_choose_what_is_shown_and_a_wrong_one_is_named")],
    "3.6 pager": [
        (OUTPUT, "test_only_a_long_text_on_a_terminal_is_paged"),
        (TERMINAL, "test_less_pages_what_is_longer_than_the_screen_and_leaves_the_rest"),
    ],
    "3.7 prefixes, @last, --exact": [
        (OUTPUT, "test_an_id_is_a_workflow_id_a_run_id_or_a_prefix_of_four"),
        (OUTPUT, "test_at_last_is_the_run_that_was_started_last"),
        (OUTPUT, "test_exact_takes_no_prefix_whatever_the_verb"),
    ],
    "3.8 inputs": [
        (OUTPUT, "test_inputs_are_text_json_files_or_a_document"),
        (OUTPUT, "test_a_wrong_input_names_the_argument_and_its_type_before_anything_is_written"),
    ],
    "3.9 bulk": [
        (OUTPUT, "test_several_are_asked_about_and_without_a_terminal_need_yes"),
        (OUTPUT, "test_a_dry_run_lists_what_the_real_one_would"),
        (OUTPUT, "test_each_item_is_one_line_of_jsonl_and_the_summary_is_on_stderr"),
    ],
    "3.10 followers": [
        (OUTPUT, "test_every_follower_can_be_told_how_long_to_wait_for_a_daemon"),
        (OUTPUT, "test_a_follower_gives_up_with_three"),
        (SEVERAL, "test_who_follows_the_log_gives_up_when_no_daemon_comes"),
        (SEVERAL, "test_who_follows_the_log_is_told_when_the_daemon_goes_away_and_is_back"),
        (VERB, "test_tail_goes_on_after_the_last_entry_when_the_daemon_comes_back"),
        (LIFE, "test_followers_go_on_across_a_restart_and_say_each_entry_once"),
    ],
}
WORDS: Rules = {
    "three lines, a code, what to type": [
        (ERRORS, "test_an_error_has_a_code_three_lines_at_most_and_says_what_to_type")
    ],
    "the same in JSON": [(ERRORS, "test_the_same_in_json_is_one_line_on_stderr")],
    "the nearest at every level": [
        (ERRORS, "test_what_is_spelled_nearly_right_is_named_at_every_level"),
        (ERRORS, "test_a_wrong_option_is_named_with_the_nearest_whatever_the_command"),
        (ERRORS, "test_what_other_tools_call_a_command_is_understood"),
        (LISTS, "test_a_type_that_no_code_has_and_no_run_is_of_is_unknown_and_named_with_the_nearest"),
    ],
    "explain CODE": [(ERRORS, "test_every_code_can_be_explained")],
    "several problems together": [
        (OUTPUT, "test_a_wrong_input_names_the_argument_and_its_type_before_anything_is_written")
    ],
    "the user's own frame, --traceback": [(EXIT, "test_a_failure_tells_type_message_and_the_users_own_line")],
    "tracebacks of wfctl with --debug alone": [
        (ERRORS, "test_a_bug_shows_its_traceback_only_where_that_was_asked_for")
    ],
    "warnings once": [(ERRORS, "test_a_warning_is_told_once_on_stderr")],
    "hints can be typed": [
        (ERRORS, "test_every_command_that_an_error_advises_can_be_typed"),
        (ERRORS, "test_the_advice_of_an_error_that_is_met_can_be_typed"),
    ],
}
START: Rules = {
    "a kernel lock decides": [
        ("unit/runtime/test_runtime_lock.py", "test_the_kernel_releases_the_lock_of_a_killed_holder")
    ],
    "the socket is private": [(ENDPOINT, "test_the_socket_is_0600_in_a_directory_of_0700_whatever_the_umask")],
    "where the socket is": [
        (
            "unit/config/test_config_load.py",
            "test_the_socket_is_in_the_runtime_folder_else_in_the_project_else_where_its_path_is_short_enough",
        )
    ],
    "a bare wfctl is its status": [(DAEMON, "test_a_bare_wfctl_is_its_status")],
    "borrowed words": [(DAEMON, "test_the_words_of_compose_are_understood")],
    "a stale socket is taken over": [(LIFE, "test_up_after_a_kill_finds_the_socket_stale_and_takes_it_over")],
    "up relays the first error": [(DAEMON, "test_the_first_error_of_the_daemon_is_raised_as_its_own")],
    "up means accepting": [(DAEMON, "test_up_returns_when_the_daemon_says_that_it_is_ready")],
    "up when it is up": [(DAEMON, "test_up_when_it_is_up_already_is_no_error")],
    "up with another project's daemon": [(DAEMON, "test_a_socket_that_belongs_to_another_project_is_a_conflict")],
    "handshake": [
        ("unit/server/test_server_bad_input.py", "test_another_protocol_is_refused_and_told_which_side_to_upgrade"),
        ("unit/client/test_client_connection.py", "test_a_daemon_that_chooses_another_protocol_is_incompatible"),
    ],
    "the peer's uid": [(ENDPOINT, "test_the_kernel_tells_who_is_at_the_other_end")],
    "status": [
        (TERMINAL, "test_status_tells_the_last_backup"),
        (TERMINAL, "test_status_quiet_only_exits"),
        (VERB, "test_status_tells_how_many_steps_wait_for_a_worker_and_since_when_the_oldest_does"),
    ],
    "reading without a daemon": [
        (TERMINAL, "test_what_only_reads_reads_the_database_where_no_daemon_runs"),
        (TERMINAL, "test_what_needs_a_daemon_says_so_whatever_can_be_read"),
    ],
    "completion": [
        ("spec/cli/test_cli_completion.py", "test_a_tab_completes_in_a_shell"),
        ("unit/cli/test_cli_complete.py", "test_a_daemon_that_does_not_answer_is_not_waited_for"),
        ("unit/cli/test_cli_complete.py", "test_whatever_fails_is_silent"),
        ("unit/cli/test_cli_complete.py", "test_what_is_offered_is_what_the_commands_take"),
        (COST, "test_a_tab_loads_neither_the_parser_nor_the_messages"),
    ],
    "start-up": [
        (COST, "test_a_command_that_draws_nothing_loads_no_loop_no_daemon_and_no_rich"),
        (COST, "test_a_command_does_less_than_importing_typer_and_loads_the_messages_it_uses"),
    ],
    "0, 40, 80 and 200 columns": [(TRY, "test_nothing_is_wider_than_the_terminal")],
    "SIGWINCH": [(TERMINAL, "test_a_resize_redraws_for_the_new_width")],
    "SIGINT in each follower": [(TERMINAL, "test_every_follower_is_tried_here")],
    "stdin at its end": [(TERMINAL, "test_the_end_of_stdin_at_a_prompt_is_a_no")],
    "ten thousand children": [(DRAWN, "test_a_fan_out_of_ten_thousand_is_drawn_as_the_contract_shows_it")],
}
COMMANDS: Rules = {
    "init": [
        ("spec/cli/test_cli_init.py", "test_what_it_says_to_type_next_runs"),
        ("spec/cli/test_cli_init.py", "test_a_second_time_it_changes_nothing_and_says_so"),
        ("spec/cli/test_cli_init.py", "test_a_template_that_is_none_names_the_nearest"),
    ],
    "up": [(LIFE, "test_up_and_down_can_be_repeated"), (LIFE, "test_the_foreground_daemon_stops_on_sigterm")],
    "down": [(DAEMON, "test_down_waits_until_the_daemon_is_gone_and_counts_what_survives")],
    "status": [(VERB, "test_status_shows_the_daemon_and_counts")],
    "reload": [("spec/cli/test_cli_reload.py", "test_a_broken_save_keeps_the_old_code_and_reloads_the_other_modules")],
    "logs": [(TERMINAL, "test_the_daemons_log_can_be_read_from_a_time_on")],
    "tail": [
        (VERB, "test_tail_without_an_id_takes_the_only_open_run_or_all"),
        (VERB, "test_tail_shows_history_and_log_lines_and_exits_by_the_worst_outcome"),
        ("spec/test_starting_later.py", "test_who_follows_a_run_that_has_not_begun_waits_until_it_does"),
    ],
    "start": [
        (VERB, "test_a_dry_run_starts_nothing_and_is_not_the_last_run"),
        (VERB, "test_start_asks_for_a_later_beginning_and_refuses_one_that_has_passed"),
    ],
    "send": [
        (VERB, "test_send_says_whether_the_event_is_handled_or_kept"),
        ("spec/test_sending.py", "test_a_run_is_begun_for_an_event_where_there_is_none"),
    ],
    "tree": [(DRAWN, "test_a_fan_out_of_ten_thousand_is_drawn_as_the_contract_shows_it")],
    "list": [
        (LISTS, "test_a_row_tells_the_next_attempt_and_why_the_last_one_failed"),
        (VERB, "test_list_follows_pages_up_to_its_limit_and_says_what_is_left"),
    ],
    "show": [(LISTS, "test_show_says_what_to_type_next")],
    "history": [
        (LISTS, "test_history_is_narrowed_and_turned_around"),
        (SEVERAL, "test_what_is_left_of_a_history_is_told_with_what_to_type"),
        (SEVERAL, "test_going_back_stops_at_a_time_or_a_number_whichever_comes_first"),
    ],
    "timeline": [("unit/cli/test_cli_timeline.py", "test_bars_tell_what_was_at_work_and_what_waited")],
    "graph": [(LISTS, "test_a_graph_is_a_tree_from_the_start_that_goes_through_each_handler_once")],
    "result": [(VERB, "test_result_asks_to_wait_only_when_told"), (VERB, "test_an_awaited_run_exits_by_its_outcome")],
    "query": [
        ("spec/cli/test_cli_queries.py", "test_what_can_be_asked_is_listed_by_name"),
        (LISTS, "test_a_query_that_takes_too_long_is_given_up"),
        (
            "spec/cli/test_cli_queries.py",
            "test_where_no_daemon_runs_a_query_is_answered_from_the_last_state_and_stderr_says_so",
        ),
        ("spec/cli/test_cli_queries.py", "test_code_that_cannot_answer_is_named_and_the_store_can_be_read"),
    ],
    "cancel": [(VERB, "test_what_is_closed_already_is_no_error"), (VERB, "test_children_are_changed_too_and_counted")],
    "schedule": [
        (SCHEDULE, "test_what_is_made_is_told_with_its_next_times_and_their_zone"),
        (SCHEDULE, "test_next_times_warn_where_clocks_are_changed"),
        (SCHEDULE, "test_a_run_that_is_started_now_says_so_everywhere"),
        (SCHEDULE, "test_several_are_started_at_once_and_one_that_is_unknown_is_told_beside_them"),
        (SCHEDULE, "test_several_are_asked_about_and_told_one_by_one"),
    ],
    "terminate": [
        (VERB, "test_children_are_changed_too_and_counted"),
        (VERB, "test_of_several_runs_each_descendant_is_counted_once_whichever_of_them_it_is_below"),
    ],
    "retry": [("spec/cli/test_cli_retry.py", "test_a_failing_payment_is_repaired_live_and_the_card_charged_once")],
    "workflows": [
        (VERB, "test_workflows_lists_handlers_with_what_they_take"),
        ("unit/sdk/test_sdk_schemas.py", "test_types_of_the_users_own_are_described_with_what_they_are_made_of"),
    ],
    "check": [("spec/cli/test_cli_check.py", "test_a_renamed_event_is_missing_for_the_orders_that_wait_for_it")],
    "explain": [("unit/cli/test_cli_explain.py", "test_an_explanation_says_what_why_and_what_to_do")],
    "wait": [("unit/cli/test_cli_wait.py", "test_a_status_that_is_reached_is_success_whatever_it_is")],
    "backup": [
        ("spec/cli/test_cli_backup.py", "test_a_command_that_is_ended_leaves_no_half_of_a_backup"),
        (
            "unit/store/test_store_copy.py",
            "test_what_a_killed_copy_left_is_removed_by_the_next_and_what_others_have_is_not",
        ),
        ("unit/store/test_store_copy.py", "test_a_damaged_database_gives_no_copy"),
    ],
    "restore": [
        ("spec/cli/test_cli_backup.py", "test_a_project_goes_back_to_a_backup_and_its_runs_go_on"),
        ("spec/cli/test_cli_backup.py", "test_what_is_no_backup_changes_nothing"),
        ("unit/care/test_care_restore.py", "test_a_signal_takes_effect_once_the_database_is_in_its_place"),
        ("unit/cli/test_cli_care.py", "test_an_interrupt_that_comes_too_late_to_stop_a_restore_is_no_failure"),
    ],
    "purge": [
        ("unit/cli/test_cli_purge.py", "test_it_needs_a_status_or_an_age"),
        ("unit/cli/test_cli_purge.py", "test_on_a_terminal_it_is_a_dry_run_until_yes_is_added"),
        ("unit/cli/test_cli_purge.py", "test_what_went_is_told_with_the_room_it_made"),
    ],
    "doctor": [
        ("unit/cli/test_cli_doctor.py", "test_fix_mends_what_is_safe_and_says_so"),
        ("unit/cli/test_cli_doctor.py", "test_a_failure_exits_with_nine_and_a_warning_does_not"),
    ],
    "demo": [
        ("spec/cli/test_cli_demo.py", "test_the_demo_shows_a_live_tree_a_failure_and_a_retry_and_leaves_nothing"),
        ("spec/cli/test_cli_demo.py", "test_a_demo_that_is_ended_early_cleans_up_too"),
    ],
    "completion": [("spec/cli/test_cli_completion.py", "test_it_is_installed_where_the_shell_looks_and_once")],
    "service": [("unit/cli/test_cli_service.py", "test_systemd_finds_nothing_wrong_with_the_unit")],
}


@cache
def _tests(file: str) -> frozenset[str]:
    if not (TESTS / file).exists():
        return frozenset()
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_"))


@pytest.mark.parametrize("rules", [TREE, CODES, STREAMS, WORDS, START, COMMANDS], ids=list("123456"))
def test_each_rule_has_tests_that_are_there(rules: Rules) -> None:
    gone = [
        f"{rule}: {file} has no {name}"
        for rule, tests in rules.items()
        for file, name in tests
        if name not in _tests(file)
    ]
    assert not gone, report(gone, "name the test that holds the rule now")
    assert all(rules.values())


def test_each_command_has_a_row_or_tests_of_its_name() -> None:
    named = {verb for verb in VERBS if any(TESTS.glob(f"*/**/test_*{verb}*.py"))}
    lacking = sorted(VERBS.keys() - COMMANDS.keys() - named)
    assert not lacking, report(lacking, "say in COMMANDS which tests hold what the command promises")
    assert not COMMANDS.keys() - VERBS.keys()
