"""Traditional Chinese messages, by their English text."""

from __future__ import annotations

from core.locale_zh_alerts import ALERTS

CATALOGUE = {
    **ALERTS,
    "Instance ID": "實例ID",
    "State": "狀態",
    "PID": "PID",
    "Web port": "Web埠",
    "Config file": "設定檔",
    "Started": "啟動時間",
    "its supervisor is gone, the bot trades on; adopt it: {command}": (
        "守護行程已不在，機器人仍在交易；接管：{command}"
    ),
    "given up; see {logs}, then: {command}": "已放棄重啟；請先查看 {logs}，再執行：{command}",
    "see why: {command}": "查看原因：{command}",
    "ended without a stop (a kill, a reboot?); start it: {command}": (
        "未經停止即結束（被終止或重新開機？）；啟動：{command}"
    ),
    "its orders are not proven gone and may rest on the exchange; settle them: {command}": (
        "無法證實訂單已撤銷，可能仍掛在交易所；請處理：{command}"
    ),
    "its orders are not proven gone": "無法證實訂單已撤銷",
    # instance_cli
    "error: {error}": "錯誤：{error}",
    "no instance runs; start one: daemon_manager start --config FILE": (
        "沒有執行中的實例；啟動：daemon_manager start --config FILE"
    ),
    "{count} more have ended: list --all shows them": "另有 {count} 個已結束：list --all 可顯示",
    "would remove {count} dead instances{names}": "將移除 {count} 個已停止的實例{names}",
    "removed {count} dead instances{names}": "已移除 {count} 個已停止的實例{names}",
    "kept for `daemon_manager resurrect`: {names}": "保留給 `daemon_manager resurrect`：{names}",
    "kept: orders of {id} may rest on the exchange; settle them: {command}": (
        "已保留：{id} 的訂單可能仍掛在交易所；請處理：{command}"
    ),
    "no instance is registered": "尚無已登記的實例",
    "--watch repeats a table; --json is one value: choose one": (
        "--watch 會重複顯示表格，--json 只輸出一個值：請擇一"
    ),
    "Look at the instances; daemon_manager starts and stops them.": (
        "檢視實例；啟動與停止請用 daemon_manager。"
    ),
    "where config/, logs/ and database/ are": "config/、logs/、database/ 所在目錄",
    "print one JSON value, messages beside it": "輸出一個 JSON 值，訊息另行輸出",
    "show what runs, and what gave up": "顯示執行中與已放棄重啟的實例",
    "also what has ended": "包含已結束的實例",
    "again every second": "每秒更新",
    "remove the records of dead instances": "移除已停止實例的記錄",
    "only say what would be removed": "只顯示將被移除的項目",
    "show all that is known of one instance": "顯示單一實例的所有資訊",
    "show trading figures and what the processes use": "顯示交易數據與行程資源用量",
    "run the engine over a CSV of candles": "以 K 線 CSV 回測",
    "clean what is stale, and say why it is": "清除過時的項目並說明原因",
    "only say what would be done": "只顯示將執行的動作",
    "cleaned {what}: {why}": "已清除 {what}：{why}",
    "would clean {what}: {why}": "將清除 {what}：{why}",
    "look at {what}: {why}": "請檢查 {what}：{why}",
    "nothing is stale": "沒有過時的項目",
    "a damaged file that was put aside and rebuilt; delete it once you have looked": (
        "已另存並重建的損壞檔案；檢視後即可刪除"
    ),
    "no supervisor holds the lock; process {pid} is none of this": (
        "沒有守護行程持有鎖；行程 {pid} 與此無關"
    ),
    "nobody listens on it": "沒有行程在監聽",
    "its config file is gone and its orders are not proven gone; stop it": (
        "設定檔已不存在，且訂單尚未證實撤銷；請停止該實例"
    ),
    "nothing of it lives, and its config file is gone": "已無任何行程，設定檔也已不存在",
    "it says {status}, but nothing of it lives": "記錄為 {status}，但已無任何行程",
    "process {pid} does not run, and nobody holds the bot's lock": (
        "行程 {pid} 已不存在，且沒有行程持有機器人的鎖"
    ),
    "the bot (pid {pid}) has no supervisor; adopt it: {command}": (
        "機器人（PID {pid}）沒有守護行程；接管：{command}"
    ),
    "held by a process that is neither its supervisor nor its bot: pid {pids}": (
        "被既非守護行程也非機器人的行程持有：PID {pids}"
    ),
    "half written by process {pid}, which is gone": "由已結束的行程 {pid} 寫到一半",
    # info and stats
    "Supervisor PID": "守護行程PID",
    "Bot PID": "機器人PID",
    "Web page": "網頁",
    "Log directory": "日誌目錄",
    "Database": "資料庫",
    "Restarts": "重啟次數",
    "Limits": "限制",
    "memory {mb} MB{kernel}": "記憶體 {mb} MB{kernel}",
    "Mode": "模式",
    "Exchange": "交易所",
    "Symbol": "交易對",
    "Grid": "網格",
    "Grid of the config": "設定檔的網格",
    "Reason": "原因",
    "Uptime": "運行時間",
    "Should run": "應執行",
    "Last beat": "最近心跳",
    "{age} s ago, loop {loops}": "{age} 秒前，迴圈 {loops}",
    "Last exit": "上次結束",
    "code {code}: {cause}; orders left: {orders_left}": (
        "代碼 {code}：{cause}；剩餘訂單：{orders_left}"
    ),
    "Earlier processes": "先前的行程",
    "Last lines of process {pid}": "行程 {pid} 的最後輸出",
    "yes": "是",
    "no": "否",
    "Price": "價格",
    "Position": "持倉",
    "Total PnL": "總損益",
    "Open orders": "掛單",
    "Fills": "成交",
    "Memory MB": "記憶體MB",
    "CPU %": "CPU %",
    "Source": "來源",
    "page": "網頁",
    "database": "資料庫",
    # daemon_manager
    "{id}: unknown instance": "{id}：未知的實例",
    "warning: {text}": "警告：{text}",
    "warning: {id}: {other} did not become ready; it is started all the same": (
        "警告：{id}：{other} 未能就緒；仍照常啟動"
    ),
    "{config}: valid": "{config}：設定有效",
    "no instance runs": "沒有執行中的實例",
    "nothing was changed": "未做任何變更",
    "move the grid?": "要移動網格嗎？",
    "start trading live with this?": "確定以此設定開始實盤交易嗎？",
    "no config in config/active is to be started": "config/active 中沒有可啟動的設定",
    "{id}: is not ready ({state}): {error}": "{id}：尚未就緒（{state}）：{error}",
    "{id}: {state}, bot {bot}, port {port} {reason}": (
        "{id}：{state}，機器人 {bot}，埠 {port} {reason}"
    ),
    "the file's last change is not in force: ": "設定檔的最新修改未生效：",
    "{id}: would be applied to the running bot; changed: {what}": (
        "{id}：將直接套用，不重啟；變更：{what}"
    ),
    "{id}: would move the grid of the running bot; changed: {what}": (
        "{id}：將直接移動網格，不重啟；變更：{what}"
    ),
    "{id}: would restart the bot; changed: {what}": "{id}：將重啟機器人；變更：{what}",
    "{id}: applied, the bot runs on; changed: {what}": (
        "{id}：已套用，機器人繼續運行；變更：{what}"
    ),
    "{id}: the grid was moved, the bot runs on; changed: {what}": (
        "{id}：網格已移動，機器人繼續運行；變更：{what}"
    ),
    "{id}: nothing has changed": "{id}：沒有變更",
    "{id}: is running already": "{id}：已在執行中",
    "{id}: it is not retried": "{id}：不會再重試",
    "{id}: it stays supervised (pid {pid})": "{id}：仍由守護行程看管（PID {pid}）",
    "{id}: STOPPED": "{id}：已停止（STOPPED）",
    "{id}: finished (exit 0)": "{id}：已完成（exit 0）",
    "{id}: is running already ({state}, pid {pid}, {url})": (
        "{id}：已在執行中（{state}，PID {pid}，{url}）"
    ),
    "{id}: its supervisor (pid {pid}) did not answer and was killed": (
        "{id}：守護行程（PID {pid}）沒有回應，已強制結束"
    ),
    "{id}: {error}": "{id}：{error}",
    "it was not started": "未啟動",
    "its supervisor does not answer": "守護行程沒有回應",
    "it is not running; start it": "尚未執行，請先啟動",
    "its config can't be used": "設定檔無法使用",
    "unknown instance": "未知的實例",
    "unknown instance; see: daemon_manager list --all": (
        "未知的實例；請見：daemon_manager list --all"
    ),
    "another command stops it": "另一個指令正在停止它",
    "it is still starting": "仍在啟動中",
    "{path} is gone, so nobody can tell how to stop it": "{path} 已不存在，無從得知如何停止",
    "its supervisor did not end; see: daemon_manager logs {id} --stream daemon": (
        "守護行程沒有結束；請見：daemon_manager logs {id} --stream daemon"
    ),
    "still alive: supervisor {pid}, bot {bot}": "仍在執行：守護行程 {pid}，機器人 {bot}",
    "stopped, but its orders are not proven gone: look at the exchange, or stop {id} again": (
        "已停止，但無法證實訂單已撤銷：請查看交易所，或再次停止 {id}"
    ),
    "its bot does not run; start it: {command}": "機器人沒有執行；啟動：{command}",
    "unknown instance, or it has no page; see: daemon_manager list --all": (
        "未知的實例，或沒有網頁；請見：daemon_manager list --all"
    ),
    "wrote {path}": "已寫入 {path}",
    "verified by systemd-analyze": "已由 systemd-analyze 驗證",
    "enable one of the two ways:": "擇一啟用：",
    # audit
    "compare the ledger with the exchange: 0 equal, 1 different, 3 not compared": (
        "比對帳本與交易所：0 相同，1 不同，3 無法比對"
    ),
    "order {subject} ({what}): rests on the exchange ({exchange}), not in the ledger ({ledger})": (
        "訂單 {subject}（{what}）：交易所仍有掛單（{exchange}），帳本中沒有（{ledger}）"
    ),
    "order {subject} ({what}): {ledger} in the ledger, not on the exchange ({exchange})": (
        "訂單 {subject}（{what}）：帳本為 {ledger}，交易所沒有此掛單（{exchange}）"
    ),
    "order {subject} ({what}): {field}: ledger {ledger}, exchange {exchange}": (
        "訂單 {subject}（{what}）：{field}：帳本 {ledger}，交易所 {exchange}"
    ),
    "fill {subject} ({what}) of order {field}: on the exchange, missing in the ledger": (
        "成交 {subject}（{what}），訂單 {field}：交易所有，帳本缺少"
    ),
    "fill {subject} ({what}) of order {field}: in the ledger, unknown to the exchange": (
        "成交 {subject}（{what}），訂單 {field}：帳本有，交易所不存在"
    ),
    "fill {subject} ({what}): {field}: ledger {ledger}, exchange {exchange}": (
        "成交 {subject}（{what}）：{field}：帳本 {ledger}，交易所 {exchange}"
    ),
    "funding of {subject}: the exchange booked {exchange}, the ledger has none": (
        "資金費 {subject}：交易所入帳 {exchange}，帳本沒有"
    ),
    "funding of {subject}: the ledger has {ledger}, the exchange booked none": (
        "資金費 {subject}：帳本有 {ledger}，交易所沒有入帳"
    ),
    "funding of {subject}: {field}: ledger {ledger}, exchange {exchange}": (
        "資金費 {subject}：{field}：帳本 {ledger}，交易所 {exchange}"
    ),
    "position: ledger {ledger}, exchange {exchange}": "持倉：帳本 {ledger}，交易所 {exchange}",
    "equity: the fills and payments come to {ledger}, the exchange's account is {exchange}": (
        "權益：由成交與資金費計算為 {ledger}，交易所帳戶為 {exchange}"
    ),
    "journal entry {subject} cannot be applied: {field}": "日誌條目 {subject} 無法套用：{field}",
    "checkpoint of entry {subject}: {field}": "檢查點（條目 {subject}）：{field}",
    "checkpoint of entry {subject}: {field}: it has {ledger}, the journal says {expected}": (
        "檢查點（條目 {subject}）：{field}：檢查點為 {ledger}，日誌為 {expected}"
    ),
    "fill {subject} ({what}): no journal entry of it": "成交 {subject}（{what}）：日誌中沒有條目",
    "fill {subject} ({what}): in the journal, not among the fills": (
        "成交 {subject}（{what}）：日誌中有，成交表中沒有"
    ),
    "fill {subject} ({what}): {field}: the fills have {ledger}, the journal {expected}": (
        "成交 {subject}（{what}）：{field}：成交表 {ledger}，日誌 {expected}"
    ),
    "fill {subject} ({what}): twice in the ledger": "成交 {subject}（{what}）：帳本中重複",
    "fill {subject} ({what}): its order {field} is not in the ledger": (
        "成交 {subject}（{what}）：其訂單 {field} 不在帳本中"
    ),
    "fill {subject}: is {ledger}, its order {field} is {expected}": (
        "成交 {subject}：為 {ledger}，其訂單 {field} 為 {expected}"
    ),
    "funding of {subject}: twice in the ledger ({ledger})": (
        "資金費 {subject}：帳本中重複（{ledger}）"
    ),
    "order {subject} ({what}): filled {ledger} in the ledger, its fills add up to {expected}": (
        "訂單 {subject}（{what}）：帳本已成交 {ledger}，其成交合計 {expected}"
    ),
    "order {subject} ({what}): {ledger} in the ledger, by its fills it is {expected}": (
        "訂單 {subject}（{what}）：帳本為 {ledger}，依成交應為 {expected}"
    ),
    "order {subject} ({what}): order {ledger} works in the same slot {field}": (
        "訂單 {subject}（{what}）：訂單 {ledger} 佔用同一位置 {field}"
    ),
    "lots: the cells hold {ledger}, the fills add up to {expected}": (
        "持倉批次：格子持有 {ledger}，成交合計 {expected}"
    ),
    "fees: {ledger} is booked, the fills paid {expected}": (
        "手續費：已入帳 {ledger}，成交實付 {expected}"
    ),
    "funding: {ledger} is booked, the payments add up to {expected}": (
        "資金費：已入帳 {ledger}，各筆合計 {expected}"
    ),
    "profit: {ledger} is booked, the fills and payments come to {expected}": (
        "損益：已入帳 {ledger}，由成交與資金費計算為 {expected}"
    ),
    "no grid was laid out yet: there is no position to compare": "尚未建立網格：沒有可比對的持倉",
    "{count} fills on the symbol are not this instance's; they come to {net}": (
        "此交易對有 {count} 筆成交不屬於本實例，合計 {net}"
    ),
    "orders that ended are compared with the exchange's list from {time} on": (
        "已結束的訂單自 {time} 起與交易所清單比對"
    ),
    "the balance is not compared: the account may have other users": (
        "不比對餘額：帳戶可能另有其他使用者"
    ),
    "the bot is not running: its next start takes up what happened since": (
        "機器人未執行：下次啟動時會補上期間發生的事"
    ),
    "{id}: could not compare: {reason}": "{id}：無法比對：{reason}",
    "{id}: {words}": "{id}：{words}",
    "{id}: note: {note}": "{id}：備註：{note}",
    "{id}: {count} differences between ledger and exchange": "{id}：帳本與交易所有 {count} 處不同",
    "{id}: equal: {open_orders} open orders, {fills} fills, {funding} payments, {position}": (
        "{id}：相同：掛單 {open_orders}，成交 {fills}，資金費 {funding}，持倉 {position}"
    ),
    "side": "方向",
    "price": "價格",
    "quantity": "數量",
    "quantity filled": "已成交數量",
    "status": "狀態",
    "fee": "手續費",
    "fee's asset": "手續費資產",
    "maker": "掛單方",
    "time": "時間",
    "exchange's order id": "交易所訂單編號",
    "client order id": "客戶訂單編號",
    "rate": "費率",
    "mark price": "標記價格",
    "position": "持倉",
    "amount": "金額",
    "slot": "位置",
    # run.py --check
    "{id}: {mode} on {symbol}": "{id}：{mode}，{symbol}",
    "paper": "模擬",
    "live": "實盤",
    "arithmetic": "等差",
    "geometric": "等比",
    "neutral": "中性",
    "long": "做多",
    "short": "做空",
    "{exchange} answers; {symbol} is at {price}": "{exchange} 有回應；{symbol} 現價 {price}",
    "{account}: {own} open orders of this instance, {foreign} of others": (
        "{account}：本實例掛單 {own}，其他掛單 {foreign}"
    ),
    "{levels} levels ({cells} cells), {mode}, {kind}, {quantity} {base} an order": (
        "{levels} 條價位（{cells} 格），{mode}，{kind}，每單 {quantity} {base}"
    ),
    "{lower} to {upper}, {width} wide ({percent} %); levels {step} apart ({steps} %)": (
        "{lower} 至 {upper}，寬 {width}（{percent} %）；間距 {step}（{steps} %）"
    ),
    "a closed cell earns {profit} {quote} after fees ({percent} % of its order)": (
        "每格扣除手續費後獲利 {profit} {quote}（訂單價值的 {percent} %）"
    ),
    "{count} of {cells} cells earn less than twice their fees: use fewer levels": (
        "{cells} 格中有 {count} 格的獲利不到手續費的兩倍：請減少價位數"
    ),
    "{now} now, at most {most} at once; worth {notional} {quote} (at least {minimum})": (
        "目前 {now} 筆，同時最多 {most} 筆；每筆 {notional} {quote}（下限 {minimum}）"
    ),
    "{now} now, at most {most} of {limit} at once; worth {notional} {quote} (from {minimum})": (
        "現有 {now} 筆，最多 {most} 筆（上限 {limit}）；每筆 {notional} {quote}（下限 {minimum}）"
    ),
    "{figures}: {remedy}": "{figures}：{remedy}",
    "lower quantity or max_position": "請降低 quantity 或 max_position",
    "use fewer levels or a lower max_position": "請減少格數或降低 max_position",
    "lower quantity or max_position, add margin, or set allow_liquidation_in_range": (
        "請降低 quantity 或 max_position、增加保證金，或設定 allow_liquidation_in_range"
    ),
    "lower quantity or max_position of one of them, or give this one a (sub-)account of its own": (
        "請調低其中一個的 quantity 或 max_position，或讓這個機器人使用自己的（子）帳戶"
    ),
    "the grid in the ledger waits for its symbol to trade again: {error}": (
        "帳本中的網格等待交易對恢復交易：{error}"
    ),
    "; {used} of it is in use already": "；其中 {used} 已占用",
    "; the other bots of this account may still take {rest}: {names}": (
        "；同一帳戶的其他機器人最多還會占用 {rest}：{names}"
    ),
    "a full side takes {margin} {quote} at leverage {leverage}, {available} is available": (
        "單邊全部成交需保證金 {margin} {quote}（槓桿 {leverage}），可用 {available}"
    ),
    "long {quantity} {base} for {cost} {quote}, down {loss} at the lowest level": (
        "多單 {quantity} {base}，成本 {cost} {quote}，跌至最低價位時虧損 {loss}"
    ),
    "short {quantity} {base} for {cost} {quote}, down {loss} at the highest level": (
        "空單 {quantity} {base}，成本 {cost} {quote}，漲至最高價位時虧損 {loss}"
    ),
    "at most {long}; or {short}": "最多{long}；或{short}",
    "at most {side}": "最多{side}",
    "the account holds {position} now; ": "帳戶目前持倉 {position}；",
    "now at about {price}": "目前約 {price}",
    "worst case, falling: about {price}, {percent} % below the lowest level": (
        "最壞情況，下跌：約 {price}，低於最低價位 {percent} %"
    ),
    "worst case, rising: about {price}, {percent} % above the highest level": (
        "最壞情況，上漲：約 {price}，高於最高價位 {percent} %"
    ),
    "worst case, falling: about {price}, inside the range": (
        "最壞情況，下跌：約 {price}，在區間之內"
    ),
    "worst case, rising: about {price}, inside the range": (
        "最壞情況，上漲：約 {price}，在區間之內"
    ),
    "no price on the way leads to it": "途中沒有會觸發強平的價格",
    "stop_loss {amount}: leaving after the first fill costs {cost}: it ends at once": (
        "stop_loss {amount}：首筆成交後離場即需 {cost}：會立刻結束"
    ),
    "stop_loss {amount} {quote}: reached inside the range, a full side loses {worst}": (
        "stop_loss {amount} {quote}：在區間內就會觸及，單邊全部成交虧損 {worst}"
    ),
    "stop_loss {amount} {quote}: beyond the range, a full side loses {worst} inside": (
        "stop_loss {amount} {quote}：在區間外才會觸及，區間內單邊最多虧損 {worst}"
    ),
    "take_profit {amount} {quote}: one closed cell earns it: the bot ends with it": (
        "take_profit {amount} {quote}：一格獲利即達到：機器人隨即結束"
    ),
    "take_profit {amount} {quote}: {count} closed cells, more while lots are open": (
        "take_profit {amount} {quote}：約 {count} 格獲利，仍有持倉時需更多"
    ),
    "below {low} or above {high} for {seconds} s": "低於 {low} 或高於 {high} 達 {seconds} 秒",
    "outside the range nothing is done: the grid waits for the price to come back": (
        "超出區間時不動作：網格等待價格回來"
    ),
    "{beyond}: entries are cancelled, exits stay; back inside it goes on": (
        "{beyond}：取消開倉單，保留平倉單；回到區間內後繼續"
    ),
    "{beyond}: all is cancelled and closed, and the bot ends": (
        "{beyond}：取消所有訂單並平倉，機器人結束"
    ),
    "{beyond}: a range of the same width around the price, {moves} an hour at most": (
        "{beyond}：以現價為中心建立同寬的區間，每小時最多 {moves} 次"
    ),
    "{beyond}: the grid follows the price cell by cell, {moves} an hour at most": (
        "{beyond}：網格逐格跟隨價格，每小時最多 {moves} 次"
    ),
    "{low} to {high}": "{low} 至 {high}",
    "on the first free port of {host}": "{host} 的第一個可用埠",
    "{address}, where this instance runs now": "{address}，本實例正在此執行",
    "{address} is free": "{address} 可用",
    "{name} will be created": "將建立 {name}",
    "{name} is whole, {count} fills": "{name} 完整，{count} 筆成交",
}
