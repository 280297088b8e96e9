import sys, json, time
from pathlib import Path
sys.path.insert(0, "/tmp/site")
from aisp_runner.case import *
from aisp_runner.execute import run_plan
from aisp_runner.sources import describe
from aisp_runner.protect import registry
from aisp_runner import record; record.validate=lambda r: None
K=Path("/tmp/k"); K.mkdir(exist_ok=True)
(K/"ops.py").write_text('''
import torch
try:
    import triton, triton.language as tl
    @triton.jit
    def _add(a,b,c,n,B: tl.constexpr):
        i=tl.program_id(0)*B+tl.arange(0,B)
        m=i<n
        tl.store(c+i, tl.load(a+i,mask=m)+tl.load(b+i,mask=m), mask=m)
except ImportError: triton=None
def reference(a, b):
    return a + b
def chunked(a, b, c):
    n = a.numel() // 16
    for i in range(0, a.numel(), n):
        torch.add(a[i:i+n], b[i:i+n], out=c[i:i+n])
def chunked64(a, b, c):
    n = a.numel() // 256
    for i in range(0, a.numel(), n):
        torch.add(a[i:i+n], b[i:i+n], out=c[i:i+n])
def add(a, b, c):
    torch.add(a, b, out=c)
def add2(a, b, c):
    torch.add(a, b, out=c)
def triton_add(a,b,c):
    n=a.numel(); _add[(triton.cdiv(n,1024),)](a,b,c,n,1024)
def syncing(a,b,c):
    torch.add(a,b,out=c); c[0].item()
S=None
def side(a,b,c):
    global S
    if S is None: S=torch.cuda.Stream()
    with torch.cuda.stream(S): torch.add(a,b,out=c)
def side_waits(a,b,c):
    global S
    if S is None: S=torch.cuda.Stream()
    S.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(S): torch.add(a,b,out=c)
G={}
def graph(a,b,c):
    k=(a.data_ptr(),b.data_ptr(),c.data_ptr())
    if k not in G:
        torch.cuda.synchronize()
        g=torch.cuda.CUDAGraph()
        with torch.cuda.graph(g): torch.add(a,b,out=c)
        G[k]=g
    G[k].replay()
def boom(a,b,c): raise ValueError("no")
def segv(a,b,c):
    import ctypes; ctypes.string_at(0)
def illegal(a,b,c):
    torch.add(a,b,out=c); torch.ones(4,device='cuda')[torch.tensor([10**9],device='cuda')]
def hang(a,b,c):
    import time; time.sleep(1000)
def mm_f(a,b,c): torch.mm(a.view(1024,-1),b.view(1024,-1),out=c.view(1024,-1))
''')
src = describe(K/"ops.py")
def case(base, fn, n=1<<20, mode="strict", claim="kernel", calls=None, **kw):
    T=lambda name,role: Tensor(name,(n,),"float32",role,rtol=1e-6 if role=="output" else 0.0, because="x")
    return Case(workload="vec", question="?", group="", origin="x.yaml", axes={"n":n}, held_out=False, device="cuda",
      inputs=(T("a","activation"),T("b","activation")), outputs=(T("c","output"),),
      reference=Variant("reference",src,"reference"), baseline=Variant(base,src,base), optimized=Variant(fn,src,fn),
      measure=Measure(rounds=16,min_rounds=8,calls=calls), claim=claim, limits=Limits(batch_seconds=5.0, start_seconds=60.0), protections=registry.select({"mode":mode}), **kw)
cases=[case("add","add2",n=1024), case("add","add2"), case("add","add2",n=1<<26), case("chunked","add"), case("chunked64","add"), case("chunked64","add",claim="wall"),
  case("add","triton_add"), case("add","syncing"), case("add","side"), case("add","side_waits"), case("add","graph",claim="wall"), case("add","graph",claim="kernel"),
  case("add","boom"), case("add","segv"), case("add","illegal"), case("add","add2",n=4096,calls=(8,64)), case("add","hang"), case("add","add2",claim="wall")]
if len(sys.argv)>2: cases=[c for c in cases if c.optimized.name in sys.argv[2:]]
t=time.time()
print("exit", run_plan(Plan(tuple(cases)), Path(sys.argv[1])), "s", round(time.time()-t,1))
for line in open(Path(sys.argv[1])/"records.jsonl"):
    r=json.loads(line); d={}
    for s in r["samples"]:
        if s["round"]>=0: d.setdefault(s["arm"],[]).append((s["drained_ns"]-s["done_ns"])/1e3)
    print(r["baseline"],r["variant"],r["case"]["axes"],r["status"],r["reasons"],{k:(round(v,3) if isinstance(v,float) else v) for k,v in (r["clock"] or {}).items()}, {k:(round(min(v)),round(sorted(v)[len(v)//2]),round(max(v))) for k,v in d.items()}, r["stages_s"])
for line in open(Path(sys.argv[1])/"records.jsonl"):
    r=json.loads(line); t={}
    for s in r["samples"]:
        if s["round"]>=0: t.setdefault((s["arm"][0],s["calls"]),[]).append(round((s["done_ns"]-s["issued_ns"])/1e3))
    print(r["variant"], {k:v[:8] for k,v in t.items()})
    for e in r["evidence"]:
        if e["status"]!="pass" and r["status"]=="INVALID": print("    ", e["protection"], e["observed"][:120], e["limit"], e["count"])
import cProfile, pstats
from aisp_runner import execute
p=cProfile.Profile(); p.enable(); run_plan(Plan((case("add","add2"),case("add","add2",n=4096,mode="off"))), Path("/tmp/run2")); p.disable()
pstats.Stats(p).sort_stats("tottime").print_stats(14)
